"""Inputs that carry what went before: caches of attention, whose length is free, and states of a fixed size."""

from __future__ import annotations

import re
from collections.abc import Mapping

import onnx

from spa_cli.graph.model import FLOAT_TYPES, Graph, Node
from spa_cli.runtime.inputs import input_dims

_CACHE = re.compile(r"past|cache|key_?values?")
_STATE = re.compile(
    r"(?<![a-z])(past|cache|state|states|state_?ins?|hidden|memory|mems?|key_?values?|h_?0|c_?0|h_?in|c_?in)(?![a-z])|past_key"
)
# what a layer gave, as the encoder to a decoder; what may be the state of anything, as of a game
_GIVEN, _VAGUE = re.compile(r"hidden_states"), re.compile(r"(?<![a-z])(state|states|hidden|memory|mems?)(?![a-z])")
_BATCH = re.compile(r"batch|^N$|^B$")
# what changes no value on the way to an initial state, or back from a window of a cache
_SAME = frozenset(
    {"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Slice", "Gather", "Split"}
)
_INITIAL = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}


def pasts(graph: Graph) -> dict[str, int]:
    """The axis along which every cache is as long as its past, by input.

    It is free behind the axis of samples, in an input that is called a cache, and no other kind of input has one of its
    name: what an encoder gave is as long as its own input.
    """
    dims_of = {n: input_dims(info) or [] for n, info in graph.inputs.items()}
    caches = {n: dims for n, dims in dims_of.items() if _floating(graph, n) and _CACHE.search(n.lower())}
    others = {d for n, dims in dims_of.items() if n not in caches for d in dims if isinstance(d, str) and d}
    first = {dims[0] for dims in caches.values() if dims}
    found = {}
    for name, dims in caches.items():
        free = [
            at
            for at, dim in enumerate(dims)
            if at and isinstance(dim, str) and dim not in others | first and (not dim or not _BATCH.search(dim))
        ]
        if len(dims) > 2 and len(free) == 1:
            found[name] = free[0]
    return found


def is_state(graph: Graph, name: str) -> bool:
    """Whether an input carries what went before, by its name or by what it is used for.

    That is where a recurrent layer begins, or a window of a cache: joined with what is new, and given back by an output
    of the same shape.
    """
    if not _floating(graph, name) or not input_dims(graph.inputs[name]):
        return False
    called = name.lower()
    by_name = _STATE.search(called) is not None and _GIVEN.search(called) is None
    if by_name and _VAGUE.sub("", called) != called and _STATE.search(_VAGUE.sub("", called)) is None:
        by_name = _given_back(graph, name)
    return by_name or is_used_as_state(graph, name)


def is_used_as_state(graph: Graph, name: str) -> bool:
    """Whether an input does what only a state does, whatever it is called."""
    return _begins(graph, name) or _rolls(graph, name)


def _floating(graph: Graph, name: str) -> bool:
    return graph.inputs[name].type.tensor_type.elem_type in FLOAT_TYPES


def _readers(graph: Graph, name: str) -> list[tuple[Node, int]]:
    """Nodes that read a tensor, or what holds the same values, and at which input."""
    found, seen, waiting = list[tuple[Node, int]](), {name}, [name]
    while waiting:
        at = waiting.pop()
        for node in graph.consumers.get(at, []):
            places = [place for place, given in enumerate(node.inputs) if given == at]
            found += [(node, place) for place in places]
            if node.op in _SAME and 0 in places:
                new = {*node.outputs} - seen
                seen |= new
                waiting += new
    return found


def _begins(graph: Graph, name: str) -> bool:
    return any(place in _INITIAL.get(node.op, ()) for node, place in _readers(graph, name))


def _rolls(graph: Graph, name: str) -> bool:
    own = _fixed(graph.inputs[name])
    back = {o.name for o in graph.model.graph.output if _fixed(o) == own}
    joined = [o for node, _ in _readers(graph, name) if node.op == "Concat" for o in node.outputs]
    windows = (o for out in joined for node, _ in _readers(graph, out) if node.op in _SAME for o in node.outputs)
    return not back.isdisjoint(windows)


def _given_back(graph: Graph, name: str) -> bool:
    """Whether an output may be what comes after: it has the same shape, as far as it declares one."""
    own = _fixed(graph.inputs[name])
    back = [_fixed(o) for o in graph.model.graph.output if o.type.tensor_type.elem_type in FLOAT_TYPES]
    return any(
        not dims or (len(dims) == len(own) and all(a in (b, 0) for a, b in zip(dims, own, strict=True)))
        for dims in back
    )


def _fixed(info: onnx.ValueInfoProto) -> list[int]:
    """Declared sizes, 0 for free ones."""
    return [dim if isinstance(dim, int) else 0 for dim in input_dims(info) or []]


def masks_all(name: str) -> bool:
    """Whether it is a mask of past and tokens; that of what an encoder was given is as long as that."""
    return "mask" in name.lower() and "encoder" not in name.lower()


def past_length(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """How long the past is in inputs of these shapes; ``None`` where no input has a past of any length."""
    lengths = [shapes[name][axis] for name, axis in pasts(graph).items() if name in shapes]
    return max(lengths, default=None)


def new_length(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """How many positions are new: those of the tokens (or of their embeddings); ``None`` where nothing says so."""
    for pattern in ("decoder_input_ids", "input_?ids", "(inputs_)?embed", "token|ids"):
        for name, shape in shapes.items():
            if re.search(pattern, name.lower()) and "type" not in name.lower() and len(shape) > 1:
                return int(shape[1])
    return None
