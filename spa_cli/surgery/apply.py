"""One pass over the graph that carries out a selection."""

from __future__ import annotations

import json

import onnx

from spa_cli.channels.groups import Grouping
from spa_cli.channels.rules import rule_for
from spa_cli.channels.selection import Selection
from spa_cli.channels.state import Channels
from spa_cli.graph.model import Graph
from spa_cli.surgery.cut import Cut
from spa_cli.surgery.values import tensor

METADATA_KEY = "spa"


def cut(graph: Graph, state: Channels, grouping: Grouping, selection: Selection, note: dict[str, object]) -> Cut:
    """A new model without the channels that ``selection`` drops; the graph's own model is not touched.

    ``note`` is recorded as a metadata entry. Raises CutError if a node can't be brought in line.
    """
    work = Cut(graph, state, grouping, selection)
    for node in graph.nodes:
        touched = any(work.changed(n) or work.values.affected(n) for n in (*node.inputs, *node.outputs) if n)
        rewrite = rule_for(node).rewrite
        if touched and rewrite is not None:
            rewrite(node, work)
        work.values.pin(node)
        work.values.advance(node)
    work.values.check_outputs()
    _write_parameters(work)
    _insert(work)
    _update_declarations(work)
    entry = work.model.metadata_props.add()
    entry.key, entry.value = _free_key(work.model), json.dumps(note, sort_keys=True)
    return work


def _free_key(model: onnx.ModelProto) -> str:
    """Pruning a pruned model keeps the first note."""
    taken = {p.key for p in model.metadata_props}
    number = 1
    key = METADATA_KEY
    while key in taken:
        number += 1
        key = f"{METADATA_KEY}.{number}"
    return key


def _write_parameters(work: Cut) -> None:
    graph, edited = work.graph, work.values.edited_parameters
    for old in graph.model.graph.initializer:
        new = work.model.graph.initializer.add()
        if old.name in edited:
            new.CopyFrom(tensor(edited[old.name], old.name))
        elif work.changed(old.name):
            new.CopyFrom(tensor(work.gather(old.name), old.name))
        else:
            new.CopyFrom(old)
            continue
        new.doc_string = old.doc_string
    for name, value in work.values.new_parameters.items():
        work.model.graph.initializer.append(tensor(value, name))
    for node in graph.nodes:
        if node.op == "Constant" and node.outputs[0] in graph.parameters:
            name = node.outputs[0]
            if name not in edited and not work.changed(name):
                continue
            for attribute in work.proto(node).attribute:
                if attribute.name == "value":
                    attribute.t.CopyFrom(
                        tensor(edited[name] if name in edited else work.gather(name), attribute.t.name)
                    )


def _insert(work: Cut) -> None:
    if not work.values.inserted:
        return
    before: dict[int, list[onnx.NodeProto]] = {}
    for proto, patches in work.values.inserted:
        before.setdefault(id(proto), []).extend(patches)
    nodes: list[onnx.NodeProto] = []
    for proto in work.model.graph.node:
        nodes += before.get(id(proto), [])
        nodes.append(proto)
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del work.model.graph.node[:]
    work.model.graph.node.extend(copies)


def _update_declarations(work: Cut) -> None:
    """Declared shapes follow; a declaration that was wrong before is dropped rather than made wrong anew."""
    model = work.model.graph
    for info in (*model.input, *model.value_info):
        if info.name not in work.known.shape or not info.type.tensor_type.HasField("shape"):
            continue
        old, new = work.old_shape(info.name), work.shape(info.name)
        dims = info.type.tensor_type.shape.dim
        if old != new and len(dims) == len(old):
            for dim, was, now in zip(dims, old, new, strict=True):
                if was != now:
                    dim.Clear()
                    dim.dim_value = now
    kept = [v for v in model.value_info if _consistent(work, v)]
    if len(kept) < len(model.value_info):
        copies = [onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in kept]
        del model.value_info[:]
        model.value_info.extend(copies)


def _consistent(work: Cut, info: onnx.ValueInfoProto) -> bool:
    if info.name not in work.known.shape or not info.type.tensor_type.HasField("shape"):
        return True
    dims, shape = info.type.tensor_type.shape.dim, work.shape(info.name)
    return len(dims) == len(shape) and all(
        not d.HasField("dim_value") or d.dim_value == s or s == 0 for d, s in zip(dims, shape, strict=True)
    )
