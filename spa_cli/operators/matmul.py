"""Contractions written as matrix products: MatMul, Gemm, Einsum."""

from __future__ import annotations

from spa_cli.channels.state import CONSUMER, PASS_THROUGH, PRODUCER, Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.registry import MICROSOFT, register


@register("MatMul")
@register("FusedMatMul TransposeMatMul", domain=MICROSOFT)
def matmul(node: Node, state: Channels) -> None:
    """``(..., m, k) @ (..., k, n)``: k is contracted, leading axes broadcast, m and n pass."""
    left, right = _view(node, state, 0, "transA"), _view(node, state, 1, "transB")
    state.set(node.outputs[0], product(node, state, left, right))


def product(
    node: Node,
    state: Channels,
    left: list[tuple[Axis, int]],
    right: list[tuple[Axis, int]],
    names: tuple[str, str] | None = None,
) -> list[Axis]:
    """Axes of a batched matrix product of two operands given as (axis, position in the tensor).

    ``names``: the operands, if they are not the first two inputs.
    """
    a_name, b_name = names or (node.inputs[0], node.inputs[1])
    (k_a, k_a_at), (k_b, k_b_at) = left[-1], right[-2] if len(right) > 1 else right[-1]
    state.contract(k_a, k_b)
    state.role(a_name, k_a_at, CONSUMER)
    state.role(b_name, k_b_at, CONSUMER)
    rows = [left[-2]] if len(left) > 1 else []
    columns = [right[-1]] if len(right) > 1 else []
    for name, kept in ((a_name, rows), (b_name, columns)):
        for axis, at in kept:
            state.role(name, at, PRODUCER)
            state.mixes(k_a, axis)
    batch = _batch(state, left[:-2], right[:-2])
    return batch + [axis for axis, _ in rows] + [axis for axis, _ in columns]


def _view(node: Node, state: Channels, index: int, flag: str) -> list[tuple[Axis, int]]:
    axes = [(axis, i) for i, axis in enumerate(state.of(node.inputs[index]))]
    if not axes:
        raise Decline("a factor is a scalar")
    if node.attr(flag, 0) and len(axes) > 1:
        axes[-1], axes[-2] = axes[-2], axes[-1]
    if node.attr(flag.replace("trans", "transBatch"), 0):
        raise Decline("FusedMatMul with transBatch is not followed")
    return axes


def _batch(state: Channels, left: list[tuple[Axis, int]], right: list[tuple[Axis, int]]) -> list[Axis]:
    result = []
    for position in range(-max(len(left), len(right)), 0):
        pair = [side[position][0] for side in (left, right) if len(side) >= -position]
        wide = [a for a in pair if a.size != 1] or pair[:1]
        for axis in pair:
            if axis.size == 1 and axis is not wide[0]:
                state.freeze(axis, "is broadcast along this axis")
        for other in wide[1:]:
            state.unify(wide[0], other)
        first = next((a for a in wide if not a.static), wide[0])
        result.append(first.with_zero(any(a.zero for a in wide)))
    return result


@register("Gemm")
@register("FusedGemm", domain=MICROSOFT)
def gemm(node: Node, state: Channels) -> None:
    """``A @ B + C`` on matrices, either transposed."""
    a, b = list(state.of(node.inputs[0])), list(state.of(node.inputs[1]))
    if len(a) != 2 or len(b) != 2:
        raise Decline("Gemm expects matrices")
    m, k = (1, 0) if node.attr("transA", 0) else (0, 1)
    k2, n = (1, 0) if node.attr("transB", 0) else (0, 1)
    out = product(node, state, [(a[m], m), (a[k], k)], [(b[k2], k2), (b[n], n)])
    if node.input(2):
        out = add_bias(node, state, out, node.inputs[2])
    if node.op == "FusedGemm":
        out = [axis.with_zero(axis.zero and node.attr("activation") in _ZERO_AT_ZERO) for axis in out]
    state.set(node.outputs[0], out)


_ZERO_AT_ZERO = frozenset({"Relu", "LeakyRelu", "Tanh", "Identity", "HardSwish"})


def add_bias(node: Node, state: Channels, out: list[Axis], name: str) -> list[Axis]:
    """Couple a bias that broadcasts over the result; the result stays zero only where the bias is zeroed too."""
    bias = state.of(name)
    silent = state.values_zero(name)
    result = []
    for back in range(-len(out), 0):
        axis = out[back]
        own = bias[back] if len(bias) >= -back else None
        if own is not None and own.size != 1:
            state.unify(axis, own)
            state.role(name, len(bias) + back, PASS_THROUGH)
            result.append(axis.with_zero(axis.zero and own.zero))
        else:
            result.append(axis.with_zero(axis.zero and silent))
    return result


@register("Einsum")
def einsum(node: Node, state: Channels) -> None:
    """Every label is one axis; labels missing from the output are contracted."""
    terms, output = parse_equation(str(node.attr("equation", "")), [len(state.of(n)) for n in node.inputs])
    by_label: dict[str, list[Axis]] = {}
    for term, name in zip(terms, node.inputs, strict=True):
        if len(set(term)) < len(term):
            raise Decline("Einsum takes a diagonal")
        for at, (label, axis) in enumerate(zip(term, state.of(name), strict=True)):
            by_label.setdefault(label, []).append(axis)
            state.role(name, at, PRODUCER if label in output else CONSUMER)
    result = {}
    for label, axes in by_label.items():
        wide = [a for a in axes if a.size != 1] or axes[:1]
        first = next((a for a in wide if not a.static), wide[0])
        for axis in axes:
            if axis is not first:
                if axis.size == 1:
                    state.freeze(axis, "is broadcast along this axis")
                else:
                    state.unify(first, axis)
        zero = any(a.zero for a in wide)
        if label not in output:
            for other in {x for term in terms if label in term for x in term if x in output}:
                if sum(other in term for term in terms) == 1:
                    state.mixes(first, by_label[other][0])
            if not zero:
                state.inexact(first, "sums products of channels that are not zero when their weights are")
        result[label] = first.with_zero(zero)
    state.set(node.outputs[0], [result[label] for label in output])


def parse_equation(equation: str, ranks: list[int]) -> tuple[list[list[str]], list[str]]:
    """Labels of each term and of the output; ``...`` becomes labels of its own, aligned at the end."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms, dots = [], 0
    for text, rank in zip(left.split(","), ranks, strict=True):
        extra = rank - len(text.replace("...", "")) if "..." in text else 0
        dots = max(dots, extra)
        terms.append(_labels(text, extra))
    if not arrow:
        flat = [label for term in terms for label in term]
        right = ("..." if dots else "") + "".join(sorted(x for x in set(flat) if x.isalpha() and flat.count(x) == 1))
    return terms, _labels(right, dots)


def _labels(text: str, dots: int) -> list[str]:
    head, found, tail = text.partition("...")
    middle = [f".{i}" for i in range(-dots, 0)] if found else []
    return [*head, *middle, *tail]
