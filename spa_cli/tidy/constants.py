"""What only constants decide: arithmetic on them, sizes that no input changes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from spa_cli.graph.bodies import own_bodies
from spa_cli.graph.model import FLOAT_TYPES, Array
from spa_cli.runtime.session import open_session
from spa_cli.tidy.draft import STANDARD, Draft
from spa_cli.tidy.sizes import is_static, known_sizes

# bytes by which a value may be larger than what it takes the place of: sizes and biases, and whatever else
_ROW, _GROWTH = 65_536, 4_096
# nothing larger is worked out, not even on the way to a small value
_MOST = 1 << 30
# they draw at random, or are how a file says that it is quantised
_KEPT = {
    *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Dropout"),
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
}


def fold_constants(draft: Draft) -> int:
    """Nodes whose outputs are the same in every run give way to their values, where those are not much larger."""
    known = {n: v for n, v in known_sizes(draft).items() if n not in draft.outputs}
    ends = _ends(draft, _fixed(draft, known), known)
    wanted = [o for n in ends for o in n.output if o and o not in known and draft.is_read(o)]
    known |= _values(draft, wanted, known)
    gone = [n for n in draft.graph.node if n.output and all(o in known or not draft.is_read(o) for o in n.output if o)]
    gone = [n for n in gone if any(o in known for o in n.output)]
    made, ids = {o for n in gone for o in n.output}, {id(n) for n in gone}
    for name, value in known.items():
        if name in made and any(id(reader) not in ids for reader in draft.readers[name]):
            draft.store(name, value)
    draft.drop(gone)
    return len(gone)


def _fixed(draft: Draft, known: dict[str, Array]) -> dict[int, onnx.NodeProto]:
    """The nodes that only constants and ``known`` sizes feed, in order, by their id."""
    values, found = {*draft.constants, *known}, dict[int, onnx.NodeProto]()
    for node in draft.graph.node:
        if node.domain not in STANDARD or node.op_type in _KEPT or not node.input or any(own_bodies(node)):
            continue
        read = list(node.input[:1]) if node.op_type == "CastLike" else [i for i in node.input if i]
        if not all(i in values for i in read) or not all(0 < _bytes(draft, o) <= _MOST for o in node.output if o):
            continue
        if node.op_type == "CastLike" and not draft.kind(node.input[1]):
            continue
        if node.op_type == "Cast" and _is_stored_narrow(draft, node):
            continue
        values.update(o for o in node.output if o)
        found[id(node)] = node
    return found


def _is_stored_narrow(draft: Draft, node: onnx.NodeProto) -> bool:
    """Whether a file keeps weights in fewer bytes than they are computed with."""
    given = node.input[0]
    return (
        draft.kind(given) in FLOAT_TYPES
        and bool(draft.dims(given))
        and _bytes(draft, given) < _bytes(draft, node.output[0])
    )


def _bytes(draft: Draft, name: str) -> int:
    """Bytes of a tensor of numbers, 0 where they are unknown."""
    dims, kind = draft.dims(name), draft.kind(name)
    if dims is None or not is_static(dims) or kind in (0, onnx.TensorProto.STRING):
        return 0
    count = math.prod(d for d in dims if isinstance(d, int))
    return max(1, count * helper.tensor_dtype_to_np_dtype(kind).itemsize)


def _ends(draft: Draft, fixed: dict[int, onnx.NodeProto], known: dict[str, Array]) -> list[onnx.NodeProto]:
    """Those of the fixed nodes that what is not fixed reads; a value that is too large is left to be worked out."""
    inside = dict(fixed)
    while True:
        ends = [n for n in inside.values() if any(_is_end(draft, inside, o) for o in n.output if o)]
        large = [n for n in ends if not draft.outputs.isdisjoint(n.output) or not _fits(draft, inside, known, n)]
        if not large:
            return ends
        for node in large:
            del inside[id(node)]


def _is_end(draft: Draft, inside: dict[int, onnx.NodeProto], name: str) -> bool:
    return name in draft.outputs or any(id(r) not in inside for r in draft.readers.get(name, ()))


def _fits(draft: Draft, inside: dict[int, onnx.NodeProto], known: dict[str, Array], node: onnx.NodeProto) -> bool:
    """Whether the values of a node are hardly larger than the constants that nobody else would read any more."""
    made = [o for o in node.output if o and draft.is_read(o)]
    size = sum(_bytes(draft, o) for o in made)
    allowed = _ROW if all(len(draft.dims(o) or ()) < 2 for o in made) else _GROWTH
    if size <= allowed:
        return True
    above = _above(draft, node.output, known)
    ids = {id(n) for n in above}
    leaves = {i for n in above for i in n.input if i in draft.constants}
    return size <= allowed + sum(
        _bytes(draft, i)
        for i in leaves
        if i not in draft.outputs and all(id(reader) in ids for reader in draft.readers[i])
    )


def _above(draft: Draft, names: Sequence[str], known: dict[str, Array]) -> list[onnx.NodeProto]:
    """The nodes that tensors come from, down to constants and known sizes, in order."""
    needed, found = {*names}, set[int]()
    stack = [*names]
    while stack:
        node = draft.producers.get(stack.pop())
        if node is None or id(node) in found or node.op_type == "Constant":
            continue
        found.add(id(node))
        read = node.input[:1] if node.op_type == "CastLike" else node.input
        more = {i for i in read if i and i not in known and i not in draft.constants} - needed
        needed |= more
        stack += more
    return [n for n in draft.graph.node if id(n) in found]


def _values(draft: Draft, names: list[str], known: dict[str, Array]) -> dict[str, Array]:
    """What onnxruntime gives for tensors, without those that it can't work out."""
    if not names:
        return {}
    nodes = [_as_cast(n, draft) for n in _above(draft, names, known)]
    made = {o for n in nodes for o in n.output}
    leaves = dict.fromkeys(i for n in nodes for i in n.input if i and i not in made)
    try:
        given = {i: known[i] if i in known else draft.array(i) for i in leaves}
        tensors = [numpy_helper.from_array(np.asarray(value), i) for i, value in given.items()]
        part = helper.make_graph(
            nodes, "constants", [], [helper.make_empty_tensor_value_info(n) for n in names], tensors
        )
        opsets = draft.model.opset_import
        model = helper.make_model(part, opset_imports=opsets, ir_version=max(draft.model.ir_version, 4))
        return dict(zip(names, open_session(model).run(names, {}), strict=True))
    except Exception:  # noqa: BLE001 - whatever onnxruntime raises: one of them stays as it is
        if len(names) == 1:
            return {}
        middle = len(names) // 2
        return _values(draft, names[:middle], known) | _values(draft, names[middle:], known)


def _as_cast(node: onnx.NodeProto, draft: Draft) -> onnx.NodeProto:
    """CastLike reads only the type of its second input, which need be no constant."""
    if node.op_type != "CastLike":
        return node
    return helper.make_node("Cast", node.input[:1], node.output, node.name, to=draft.kind(node.input[1]))
