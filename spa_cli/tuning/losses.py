"""The losses of a network against what another gave, as nodes behind its own: onnxruntime computes and derives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from spa_cli.adjoints.emitter import Emitter, Value
from spa_cli.adjoints.sizes import Sizes
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.shapes import Shapes
from spa_cli.measures.classes import LOGARITHMS, LOGITS
from spa_cli.tuning.terms import CHANCES, VALUES, Term

# the least probability: beyond it nothing is lost any more
_LEAST = 1e-6
# how much channels count where chances say that nothing is there
_NOWHERE = 0.05


@dataclass(frozen=True, eq=False)
class Losses:
    """``model`` gives one number per term, ``names``, beside its outputs; it takes what the other gave for each tensor
    as the input ``given[tensor]``, and what samples were told, if a term asks for that, as ``told``.
    """

    model: onnx.ModelProto
    names: tuple[str, ...]
    given: Mapping[str, str]
    told: str | None


def with_losses(graph: Graph, shapes: Shapes, terms: Sequence[Term], spread: Mapping[str, Array]) -> Losses:
    """``spread``: of tensors with numbers the variance of every channel, along the axis of its term."""
    model = graph.in_memory()
    taken = {n for node in graph.all_nodes for n in (*node.inputs, *node.outputs, node.name)}
    emit = Emitter(graph.opset, taken | set(graph.parameters) | set(graph.inputs) | set(graph.outputs))
    given, sizes = dict[str, str](), Sizes(graph, shapes)
    names, told = [], None
    for term in terms:
        element = shapes.dtype.get(term.tensor, onnx.TensorProto.FLOAT)
        rank = len(shapes.shape[term.tensor] or ())
        other = told if term.told else given.get(term.tensor)
        if other is None:
            # what is always the same has to be known of both: else every gradient of their difference is summed over
            # axes that no operand was repeated along
            dims = [None] * rank if term.told else sizes.fixed(term.tensor)
            other = emit.fresh(f"{'labels' if term.told else 'original'}/{term.tensor}")
            model.graph.input.append(helper.make_tensor_value_info(other, element, dims))
        if term.told:
            told = other
        else:
            given[term.tensor] = other
        ours, theirs = (Value(emit, n, element) for n in (term.tensor, other))
        loss = _loss(term, ours, theirs, rank, spread)
        names.append(emit.fresh(f"loss/{term.tensor}"))
        emit.ops("Identity", [loss], 1, names=[names[-1]])
    model.graph.node.extend(emit.nodes)
    model.graph.initializer.extend(emit.constants)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, []) for n in names)
    return Losses(model, tuple(names), given, told)


def _loss(term: Term, ours: Value, theirs: Value, rank: int, spread: Mapping[str, Array]) -> Value:
    """The mean over all that is no channel."""
    e, axis = ours.emit, term.axis + rank
    if term.form == VALUES and term.stop is None and not term.likely:
        # without the copies that the rest makes
        off, along = ours - theirs, [1] * rank
        along[axis] = -1
        each = off * off * (1.0 / spread[term.tensor]).reshape(along)
        channels = len(spread[term.tensor])
        return e.reduce(each, list(range(rank)), keepdims=False, op="ReduceMean") * float(channels)
    order = [*(i for i in range(rank) if i != axis), axis]
    ours, theirs = (e.transpose(v, order) for v in (ours, theirs))
    both = [_stretch(v, term.start, term.stop, rank) for v in (ours, theirs)]
    if term.form == VALUES:
        off = both[0] - both[1]
        each = off * off * (1.0 / spread[term.tensor][term.start : term.stop])
    elif term.form == CHANCES:
        each = _relative(both[1], both[0]) + _relative(1.0 - both[1], 1.0 - both[0])
    elif term.told:
        # chances that may be 0
        each = both[1] * (e.op("Log", both[1] + _LEAST) - _logarithms(both[0], term.form, rank))
    else:
        logs = [_logarithms(v, term.form, rank) for v in both]
        each = e.op("Exp", logs[1]) * (logs[1] - logs[0])
    each = e.reduce(each, [rank - 1], keepdims=False)
    if term.likely:
        weight = None
        for start, stop in term.likely:
            most = e.reduce(_stretch(theirs, start, stop, rank), [rank - 1], keepdims=False, op="ReduceMax")
            weight = most if weight is None else weight * most
        assert weight is not None
        each = each * (weight + _NOWHERE)
    return e.reduce(each, list(range(rank - 1)), keepdims=False, op="ReduceMean")


def _stretch(value: Value, start: int, stop: int | None, rank: int) -> Value:
    return value if stop is None else value.emit.slice(value, [start], [stop], [rank - 1])


def _relative(p: Value, q: Value) -> Value:
    """``p log(p / q)``."""
    e = p.emit
    return p * (e.op("Log", p + _LEAST) - e.op("Log", q + _LEAST))


def _logarithms(value: Value, form: str, rank: int) -> Value:
    """Logarithms of probabilities along the last axis."""
    e = value.emit
    if form == LOGITS:
        return e.op("LogSoftmax", value, axis=rank - 1)
    return value if form == LOGARITHMS else e.op("Log", value + _LEAST)
