"""How a sum of products relates channels, read off its labels."""

from __future__ import annotations

import math
from collections.abc import Callable

from spa_cli.channels.state import CONSUMER, PASS_THROUGH, PRODUCER, Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.contracts import Contracts, Equation
from spa_cli.operators.labels import factors
from spa_cli.operators.registry import contracts_of, record_of, register

# activations that fused operators apply to what they computed, and that leave zero zero
_ZERO_AT_ZERO = frozenset({"", "Relu", "LeakyRelu", "Tanh", "Identity", "HardSwish"})


def labelled(
    *names: str,
    domain: str = "",
    operands: tuple[int, ...] = (0, 1),
    bias: int = -1,
    fitted: tuple[int, ...] = (),
) -> Callable[[Equation], Equation]:
    """Decorator: this function labels the axes of these operators (see ``Contracts``), and that says all of them."""

    def add(equation: Equation) -> Equation:
        def relate(node: Node, state: Channels) -> None:
            state.set(node.outputs[0], contracted(node, state))

        relate.__doc__ = equation.__doc__
        contracts = Contracts(equation, operands, bias, fitted=fitted)
        # ONNX has a schema for those of its own domain
        register(*names, domain=domain, contracts=contracts, shape=contracts.shapes if domain else "")(relate)
        return equation

    return add


def contracted(node: Node, state: Channels, operands: list[list[Axis]] | None = None) -> list[Axis]:
    """Relate the axes of a node's operands by their labels; the axes of its result, bias and activation included.

    Equal labels keep the same indices; a sum over a label is exact where one operand is zero at what is removed.
    ``operands``: their axes, if they are not quite those of the inputs.
    """
    contracts = contracts_of(node)
    operands = operands or [state.of(name) for name in contracts.inputs(node)]
    labels = contracts.labels(node, [len(axes) for axes in operands])
    having: dict[str, list[Axis]] = {}
    for term, axes in zip(labels.terms, operands, strict=True):
        if not axes:
            raise Decline("a factor is a scalar")
        if len(axes) != len(term):
            raise Decline(f"{node.op} expects {len(term)} axes where there are {len(axes)}")
        if len(set(term)) < len(term):
            raise Decline(f"{node.op} takes a diagonal")
        for label, axis in zip(term, axes, strict=True):
            having.setdefault(label, []).append(axis)
    set_roles(node, state, *range(len(operands)))
    summed = [label for label in having if label not in labels.result]
    one = {label: _broadcast(state, having[label]) for label in (*summed, *(x for x in having if x not in summed))}
    for label in summed:
        for other in dict.fromkeys(x for term in labels.terms if label in term for x in term if x in labels.result):
            # an axis that is only broadcast over does not meet another operand's
            if sum(other in term for term in labels.terms) == 1 and not other.startswith("."):
                state.mixes(one[label], one[other])
        if not one[label].zero:
            state.inexact(one[label], "sums products of channels that are not zero when their weights are")
    if not having.keys() >= {*labels.result}:
        raise Decline(f"the labels of {node.op} name an axis of the result that no operand has")
    out = [one[label] for label in labels.result]
    if contracts.bias >= 0 and node.input(contracts.bias):
        out = add_bias(node, state, out, node.inputs[contracts.bias])
    return [axis.with_zero(axis.zero and keeps_zero(node)) for axis in out]


def set_roles(node: Node, state: Channels, *operands: int) -> None:
    """Along which axes these operands, if they are constant, make channels, and along which they read them."""
    contracts = contracts_of(node)
    names = contracts.inputs(node)
    labels = contracts.labels(node, [len(state.of(name)) for name in names])
    made = {*factors(labels.result)}
    for at in operands:
        for axis, text in enumerate(labels.terms[at]):
            # what is only broadcast over, and the taps of a window, are no channels
            if not text.startswith(".") and text not in labels.windows:
                state.role(names[at], axis, PRODUCER if made.issuperset(factors([text])) else CONSUMER)


def _broadcast(state: Channels, axes: list[Axis]) -> Axis:
    """Couple axes of one label; those of one are broadcast along the others."""
    wide = [a for a in axes if a.size != 1] or axes[:1]
    first = next((a for a in wide if not a.static), wide[0])
    for axis in axes:
        if axis.size == 1 and axis is not first:
            state.freeze(axis, "is broadcast along this axis")
    state.together(wide)
    return first.with_zero(any(a.zero for a in wide))


def added_in(node: Node) -> str:
    """The tensor of the result's shape that a fused operator adds to its product, "" if there is none."""
    contracts = record_of(node).contracts
    return node.input(contracts.added) if contracts is not None and contracts.added >= 0 else ""


def inner_range(node: Node) -> tuple[float, float] | None:
    """Below and above what the activation that a fused operator applies is constant: (0, inf) of Relu.

    ``None`` if it is not the identity between (LeakyRelu, Tanh): then the output does not tell the product.
    """
    name = node.attr("activation") or ""
    if name == "Clip":
        low, high = node.attr("activation_params", None) or (-math.inf, math.inf)
        return float(low), float(high)
    return {"": (-math.inf, math.inf), "Relu": (0.0, math.inf)}.get(name)


def keeps_zero(node: Node) -> bool:
    """Whether what a fused operator applies to its product leaves zero zero."""
    return (node.attr("activation") or "") in _ZERO_AT_ZERO


def add_bias(node: Node, state: Channels, out: list[Axis], name: str) -> list[Axis]:
    """Couple a bias that broadcasts over the result; the result stays zero only where the bias is zeroed too."""
    bias = state.of(name)
    nothing = state.values_zero(name)
    result = []
    for back in range(-len(out), 0):
        axis = out[back]
        own = bias[back] if len(bias) >= -back else None
        if own is not None and own.size != 1:
            state.unify(axis, own)
            state.role(name, len(bias) + back, PASS_THROUGH)
            result.append(axis.with_zero(axis.zero and own.zero))
        else:
            result.append(axis.with_zero(axis.zero and nothing))
    return result
