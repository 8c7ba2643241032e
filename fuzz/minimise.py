"""Making a finding small: nodes and attributes go as long as it stays the same finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import onnx

from tests.builders import graphs_of

# models that are tried
_TRIES = 150


def minimise(file: Path, same: Callable[[], bool]) -> None:
    """Leave in the model at ``file`` only what ``same``, which looks at the file, still needs."""
    try:
        model = onnx.load(str(file), load_external_data=False)
    except Exception:  # noqa: BLE001 - it is no model any more: its bytes are the finding
        return
    tries = 0
    while tries < _TRIES:
        for smaller in _smaller(model):
            tries += 1
            file.write_bytes(smaller.SerializeToString())
            if same():
                model = smaller
                break
            if tries >= _TRIES:
                break
        else:
            break
    file.write_bytes(model.SerializeToString())


def _smaller(model: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    """The model without each of its nodes, whose readers read what it read, and without what is declared."""
    count = sum(len(g.node) for g in graphs_of(model.graph))
    for at in range(count):
        copy = _copy(model)
        graph, node = next(p for i, p in enumerate((g, n) for g in graphs_of(copy.graph) for n in g.node) if i == at)
        source = next((i for i in node.input if i), "")
        gone = {*node.output}
        graph.node.remove(node)
        for reader in (n for g in graphs_of(copy.graph) for n in g.node):
            reader.input[:] = [source if i in gone else i for i in reader.input]
        for output in graph.output:
            output.name = source if output.name in gone else output.name
        yield _without_unread(copy)
    for field in ("value_info", "metadata_props"):
        copy = _copy(model)
        where = copy.graph if field == "value_info" else copy
        if len(getattr(where, field)):
            where.ClearField(field)
            yield copy


def _without_unread(model: onnx.ModelProto) -> onnx.ModelProto:
    read = {i for g in graphs_of(model.graph) for n in g.node for i in n.input} | {o.name for o in model.graph.output}
    for tensor in [t for t in model.graph.initializer if t.name not in read]:
        model.graph.initializer.remove(tensor)
    return model


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
