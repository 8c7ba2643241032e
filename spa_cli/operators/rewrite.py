"""One pass over the graph that carries out a selection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import onnx
from onnx import helper

from spa_cli.channels.groups import Grouping
from spa_cli.channels.selection import Selection
from spa_cli.channels.state import Channels
from spa_cli.errors import CutError
from spa_cli.graph.bodies import graphs, own_bodies
from spa_cli.graph.guard import guarded
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.parameters import set_parameters
from spa_cli.graph.states import NOTE
from spa_cli.operators import record_of
from spa_cli.operators.bypass import NOTHING, Emptying
from spa_cli.surgery.cut import Cut
from spa_cli.surgery.values import tensor


def cut(
    graph: Graph,
    state: Channels,
    grouping: Grouping,
    selection: Selection,
    note: Mapping[str, object],
    take: Callable[[onnx.TensorProto], None] | None = None,
) -> Cut:
    """A new model without the channels that ``selection`` drops; the graph's own model is not touched.

    Groups of which nothing stays take along what is dead without them, other groups too (see ``operators.bypass``).
    ``note`` is recorded as a metadata entry. ``take`` gets every finished initializer, to move its bytes elsewhere.
    Raises CutError if a node can't be brought in line.
    """
    emptied = selection.emptied
    bypass = Emptying(graph, state, grouping).without(emptied) if emptied else NOTHING
    work = Cut(graph, state, grouping, selection.copy_emptied(bypass.groups) if emptied else selection)
    for meeting in bypass.meetings:
        work.hold(meeting.node, meeting.index, meeting.value)
    for node in graph.all_nodes:
        if node in bypass.dead:
            work.drop(node)
            continue
        touched = any(work.changed(n) or work.values.affected(n) for n in (*node.inputs, *node.outputs) if n)
        rewrite = record_of(node).rewrite
        with guarded(node, CutError):
            if touched and rewrite is not None:
                rewrite(node, work)
            work.values.pin(node)
            work.values.advance(node)
    work.values.check_outputs()
    _leave_out(work, bypass.unread)
    _write_parameters(work, take)
    _insert(work)
    _update_declarations(work)
    states = {"states": [state.to_json() for state in work.states]} if work.states else {}
    work.model.metadata_props.append(entry_of(work.model, {**note, **states}))
    return work


def entry_of(model: onnx.ModelProto, note: Mapping[str, object]) -> onnx.StringStringEntryProto:
    """The metadata entry with a note that a result of this model gets."""
    return onnx.StringStringEntryProto(key=_free_key(model), value=json.dumps(dict(note), sort_keys=True))


def _free_key(model: onnx.ModelProto) -> str:
    """Pruning a pruned model keeps the first note."""
    taken = {p.key for p in model.metadata_props}
    number = 1
    key = NOTE
    while key in taken:
        number += 1
        key = f"{NOTE}.{number}"
    return key


def _leave_out(work: Cut, unread: frozenset[str]) -> None:
    """Parameters that nothing reads go, and what is listed of them among the inputs (old files do)."""
    work.unread |= unread
    inputs = work.model.graph.input
    for listed in [v for v in inputs if v.name in unread]:
        inputs.remove(listed)


def _write_parameters(work: Cut, take: Callable[[onnx.TensorProto], None] | None) -> None:
    # the initializers of the main graph are not in the new model yet
    set_parameters(work.model.graph, lambda name: _new_value(work, name))
    unread = work.unread - {v.name for v in work.model.graph.input}
    for old in work.graph.model.graph.initializer:
        if old.name in unread:
            continue
        # finished before it joins the model: a message never gives back what its fields once held
        new = onnx.TensorProto()
        value = _new_value(work, old.name)
        new.CopyFrom(old if value is None else tensor(value, old.name))
        new.doc_string = old.doc_string
        if take is not None:
            take(new)
        work.model.graph.initializer.append(new)
    for name, value in work.values.new_parameters.items():
        made = tensor(value, name)
        work.model.graph.initializer.append(made)
        if work.model.ir_version < 4:
            # initializers are inputs there
            work.model.graph.input.append(helper.make_tensor_value_info(name, made.data_type, made.dims))


def _new_value(work: Cut, name: str) -> Array | None:
    """What a parameter holds after the cut, ``None`` if it stays as it is."""
    if name in work.values.edited_parameters:
        return work.values.edited_parameters[name]
    return work.gather(name) if name in work.graph.parameters and work.changed(name) else None


def _insert(work: Cut) -> None:
    """New nodes before the ones that need them; dropped ones go, and what was declared of their results."""
    instead: dict[int, list[onnx.NodeProto]] = {}
    for proto, patches in work.values.inserted:
        instead.setdefault(id(proto), [proto])[-1:-1] = patches
    instead.update((id(proto), []) for proto in work.dropped)
    if instead:
        _insert_into(work.model.graph, instead)


def _insert_into(graph: onnx.GraphProto, instead: dict[int, list[onnx.NodeProto]]) -> None:
    for proto in graph.node:
        for body in own_bodies(proto):
            _insert_into(body, instead)
    if not any(id(proto) in instead for proto in graph.node):
        return
    nodes = [n for proto in graph.node for n in instead.get(id(proto), [proto])]
    gone = {o for proto in graph.node if not instead.get(id(proto), [proto]) for o in proto.output}
    declared = [onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in graph.value_info if v.name not in gone]
    if gone:
        del graph.value_info[:]
        graph.value_info.extend(declared)
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _update_declarations(work: Cut) -> None:
    """Declared shapes follow; a declaration that was wrong before is dropped rather than made wrong anew."""
    for place in graphs(work.model.graph):
        for info in (*place.input, *place.value_info, *place.output):
            _update_declaration(work, info)
        kept = [v for v in place.value_info if _consistent(work, v)]
        if len(kept) < len(place.value_info):
            copies = [onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in kept]
            del place.value_info[:]
            place.value_info.extend(copies)


def _update_declaration(work: Cut, info: onnx.ValueInfoProto) -> None:
    if info.name not in work.known.shape or not info.type.tensor_type.HasField("shape"):
        return
    old, new = work.old_shape(info.name), work.shape(info.name)
    dims = info.type.tensor_type.shape.dim
    if old != new and len(dims) == len(old):
        for dim, was, now in zip(dims, old, new, strict=True):
            if was != now:
                dim.Clear()
                dim.dim_value = now


def _consistent(work: Cut, info: onnx.ValueInfoProto) -> bool:
    if info.name not in work.known.shape or not info.type.tensor_type.HasField("shape"):
        return True
    dims, shape = info.type.tensor_type.shape.dim, work.shape(info.name)
    return len(dims) == len(shape) and all(
        not d.HasField("dim_value") or d.dim_value == s or s == 0 for d, s in zip(dims, shape, strict=True)
    )
