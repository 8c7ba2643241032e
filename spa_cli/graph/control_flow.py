"""Shapes through the bodies of If, Loop and Scan."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx

from spa_cli.graph.known import Read, Shape, Shapes
from spa_cli.graph.model import Body, Node

Walk = Callable[[Iterable[Node]], None]


def through_bodies(node: Node, known: Shapes, read: Read, walk: Walk) -> bool:
    """Add the shapes inside and behind a control-flow node to ``known``; whether it is one of a known kind."""
    if node.domain or not node.bodies:
        return False
    if node.op == "If":
        for body in node.bodies:
            walk(body.nodes)
        at = taken(node, read)
        for name, *outputs in zip(node.outputs, *(b.outputs for b in node.bodies), strict=True):
            ends = [known.shape.get(o) for o in outputs]
            shape = _common(ends) if at is None else ends[at]
            _give(node, known, name, shape, known.dtype.get(outputs[at or 0]))
        return True
    if node.op == "Loop":
        _loop(node, known, read, walk)
        return True
    if node.op == "Scan" and node.version >= 9:
        _scan(node, known, read, walk)
        return True
    return False


def taken(node: Node, read: Read) -> int | None:
    """Which body an If runs, where its condition is known at the shapes the graph is analysed at.

    PyTorch's scripted exports squeeze an axis if it turns out to be one, over and over.
    """
    condition = read(node.inputs[0])
    if condition is None or condition.size != 1:
        return None
    names = [a.name for a in node.proto.attribute if a.HasField("g")]
    return names.index("then_branch" if condition.reshape(-1)[0] else "else_branch")


def carried(node: Node) -> list[tuple[str, str, str, str]]:
    """(initial value, body input, body output, result) of everything a Loop or a Scan carries along."""
    (body,) = node.bodies
    if node.op == "Loop":
        return list(zip(node.inputs[2:], body.inputs[2:], body.outputs[1:], node.outputs, strict=False))
    count = len(node.inputs) - int(node.attr("num_scan_inputs"))
    return list(zip(node.inputs[:count], body.inputs, body.outputs, node.outputs, strict=False))


def scanned_inputs(node: Node) -> list[tuple[str, str, int]]:
    """(tensor, body input, axis) of what a Scan goes through."""
    count = int(node.attr("num_scan_inputs"))
    first = len(node.inputs) - count
    axes = node.attr("scan_input_axes") or [0] * count
    return list(zip(node.inputs[first:], node.bodies[0].inputs[first:], map(int, axes), strict=True))


def scanned_outputs(node: Node) -> list[tuple[str, str, int]]:
    """(body output, result, axis) of what a Loop or a Scan stacks up."""
    first = len(carried(node))
    results = node.outputs[first:]
    axes = (node.attr("scan_output_axes") if node.op == "Scan" else None) or [0] * len(results)
    outputs = node.bodies[0].outputs[first + (node.op == "Loop") :]
    return list(zip(outputs, results, map(int, axes), strict=False))


def trips(node: Node, known: Shapes, read: Read) -> int | None:
    """How often the body runs, where that is known (a Loop may stop earlier)."""
    if node.op == "Loop":
        most = read(node.inputs[0]) if node.inputs[0] else None
        return None if most is None or most.size != 1 else max(int(most.reshape(-1)[0]), 0)
    if node.version < 9:
        return None
    tensor, _, axis = scanned_inputs(node)[0]
    shape = known.shape.get(tensor)
    return None if shape is None else shape[axis]


def _loop(node: Node, known: Shapes, read: Read, walk: Walk) -> None:
    (body,) = node.bodies
    scalars = zip(body.inputs[:2], (onnx.TensorProto.INT64, onnx.TensorProto.BOOL), strict=False)
    known.shape.update(dict.fromkeys(body.inputs[:2], ()))
    known.dtype.update(scalars)
    _until_stable(node, known, read, walk)
    _stack(node, known, read)


def _scan(node: Node, known: Shapes, read: Read, walk: Walk) -> None:
    for tensor, inner, axis in scanned_inputs(node):
        shape = known.shape.get(tensor)
        if shape is not None:
            at = axis % len(shape)
            known.shape[inner] = (*shape[:at], *shape[at + 1 :])
            known.dtype[inner] = known.dtype.get(tensor, onnx.TensorProto.FLOAT)
    _until_stable(node, known, read, walk)
    _stack(node, known, read)


def _until_stable(node: Node, known: Shapes, read: Read, walk: Walk) -> None:
    """Walk the body until what it gives has the shape of what it took; a size that changes is one data decides."""
    (body,) = node.bodies
    shapes = {inner: known.shape.get(outer) for outer, inner, _, _ in carried(node)}
    while True:
        for outer, inner, end, _ in carried(node):
            shape = shapes[inner]
            if shape is not None:
                known.shape[inner], known.dtype[inner] = shape, known.dtype.get(outer, onnx.TensorProto.FLOAT)
            value = read(outer) if inner == end else None
            if value is not None:
                known.value[inner] = value
        walk(body.nodes)
        after = {
            inner: _common([shapes[inner], known.shape.get(end, shapes[inner])]) for _, inner, end, _ in carried(node)
        }
        if after == shapes:
            break
        shapes = after
        _forget(body, known)
    for _, inner, end, result in carried(node):
        _give(node, known, result, shapes[inner], known.dtype.get(end))


def _stack(node: Node, known: Shapes, read: Read) -> None:
    count = trips(node, known, read)
    for inner, result, axis in scanned_outputs(node):
        shape = known.shape.get(inner)
        if shape is not None:
            at = axis % (len(shape) + 1)
            shape = (*shape[:at], count, *shape[at:])
        _give(node, known, result, shape, known.dtype.get(inner))


def _give(node: Node, known: Shapes, name: str, shape: Shape | None, dtype: int | None) -> None:
    if not name or name in known.shape:
        return  # not asked for, or observed
    if dtype is not None:
        known.dtype[name] = dtype
    if shape is not None:
        known.shape[name] = shape
    if shape is None or None in shape:
        known.unknown[name] = node


def _common(shapes: list[Shape | None]) -> Shape | None:
    """What several shapes have in common: ``None`` for a dim in which they differ, or if the ranks do."""
    first = shapes[0]
    if first is None or any(s is None or len(s) != len(first) for s in shapes):
        return None
    columns = zip(*(s for s in shapes if s is not None), strict=True)
    return tuple(dims[0] if len(set(dims)) == 1 else None for dims in columns)


def _forget(body: Body, known: Shapes) -> None:
    for node in body.nodes:
        for inner in node.bodies:
            _forget(inner, known)
        for name in node.outputs:
            for table in (known.shape, known.dtype, known.value, known.unknown):
                table.pop(name, None)
    known.conflicts[:] = [(n, why) for n, why in known.conflicts if n not in body.nodes]
    for name in body.inputs:
        known.shape.pop(name, None)
        known.value.pop(name, None)
