"""Sums of products: the adjoint is a sum of products with the other operand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spa_cli.adjoints.emitter import NoAdjoint, Value
from spa_cli.adjoints.sizes import Pair
from spa_cli.adjoints.table import Call, Gradient, adjoint_of, need_opset, unrepeat


def _swapped(value: Value, rank: int) -> Value:
    return value.emit.transpose(value, [*range(rank - 2), rank - 1, rank - 2])


@adjoint_of("MatMul")
def matmul(c: Call) -> Mapping[int, Gradient]:
    """By the other operand, transposed; operands of one axis are a row and a column."""
    ranks = c.rank(0), c.rank(1)
    g = c.g
    if ranks[1] == 1:
        g = c.emit.unsqueeze(g, [max(ranks[0], 2) - 1 - (ranks[0] == 1)])
    if ranks[0] == 1:
        g = c.emit.unsqueeze(g, [max(ranks[1], 2) - 2])
    a = c.emit.unsqueeze(c.x(0), [0]) if ranks[0] == 1 else c.x(0)
    b = c.emit.unsqueeze(c.x(1), [1]) if ranks[1] == 1 else c.x(1)
    wide = max(*ranks, 2)

    def first() -> Value:
        found = g @ _swapped(b, max(ranks[1], 2))
        if ranks[0] == 1:
            return c.emit.reduce(found, range(wide - 1), keepdims=False)
        return _summed(c, found, wide, 0)

    def second() -> Value:
        if ranks[1] == 2 and ranks[0] > 2:
            # all rows in one product
            rows, columns = c.emit.size(a, -1), c.emit.size(g, -1)
            flat = [c.emit.reshape(v, c.emit.concat([c.emit.ints([-1]), n], 0)) for v, n in ((a, rows), (g, columns))]
            return _swapped(flat[0], 2) @ flat[1]
        found = _swapped(a, max(ranks[0], 2)) @ g
        if ranks[1] == 1:
            return c.emit.reduce(found, [*range(wide - 2), wide - 1], keepdims=False)
        return _summed(c, found, wide, 1)

    return {0: first, 1: second}


def _summed(c: Call, value: Value, wide: int, index: int) -> Value:
    """Sum a gradient of rank ``wide`` over the axes in front along which an operand of a product was repeated."""
    own = c.sizes.pairs(c.node.inputs[index])
    batch = c.sizes.pairs(c.node.outputs[0])[: wide - 2]
    # the size of the last two axes is that of the operand, known or not
    same: list[Pair] = [(0, 0), (0, 0)]
    return unrepeat(value, [*batch, *same], [*own[:-2], *same], c.x(index))


@adjoint_of("Gemm")
def gemm(c: Call) -> Mapping[int, Gradient]:
    """``alpha A' B' + beta C``."""
    ta, tb = bool(c.node.attr("transA", 0)), bool(c.node.attr("transB", 0))
    alpha, beta = float(c.node.attr("alpha", 1.0)), float(c.node.attr("beta", 1.0))

    def product(a: Value, b: Value, trans_a: bool, trans_b: bool) -> Value:
        zero = c.emit.constant([0], c.g.dtype)
        # the third operand is optional since opset 11
        more = [] if c.emit.opset >= 11 else [zero]
        return c.emit.op("Gemm", a, b, *more, transA=int(trans_a), transB=int(trans_b), alpha=alpha)

    def first() -> Value:
        return product(c.x(1), c.g, tb, True) if ta else product(c.g, c.x(1), False, not tb)

    def second() -> Value:
        return product(c.g, c.x(0), True, ta) if tb else product(c.x(0), c.g, not ta, False)

    return {0: first, 1: second, 2: lambda: c.sum_to(c.g * beta, 2)}


@adjoint_of("Einsum")
def einsum(c: Call) -> Mapping[int, Gradient]:
    """The output's letters go where the operand's were; letters that only it has are broadcast."""
    need_opset(c, 12, "Einsum")
    equation = str(c.node.attr("equation")).replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if "." in equation:
        terms, right = _spelled(c, terms, right if arrow else None)
    elif not arrow:
        right = "".join(sorted(x for x in set(left) - {","} if left.count(x) == 1))

    def of(i: int) -> Gradient:
        return lambda: _operand(c, terms, right, i)

    return {i: of(i) for i in range(len(terms))}


def _spelled(c: Call, terms: Sequence[str], right: str | None) -> tuple[list[str], str]:
    """Letters in place of the dots."""
    if right is None:
        raise NoAdjoint("its equation has dots and no output")
    free = [x for x in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if x not in "".join(terms)]
    widths = [c.rank(i) - len(t.replace("...", "")) if "..." in t else 0 for i, t in enumerate(terms)]
    dots = free[: max(widths)]
    spelled = [t.replace("...", "".join(dots[len(dots) - w :])) for t, w in zip(terms, widths, strict=True)]
    if any(w not in (0, len(dots)) for w in widths):
        raise NoAdjoint("its operands have dots for a different number of axes")
    return spelled, right.replace("...", "".join(dots))


def _operand(c: Call, terms: Sequence[str], right: str, i: int) -> Value:
    own = terms[i]
    if len(set(own)) < len(own):
        raise NoAdjoint("it takes a diagonal")
    others = [j for j in range(len(terms)) if j != i]
    sizes = {x: s for j, t in enumerate(terms) for x, s in zip(t, c.sizes.pairs(c.node.inputs[j]), strict=True)}
    for j, t in enumerate(terms):
        if any(s[0] != sizes[x][0] for x, s in zip(t, c.sizes.pairs(c.node.inputs[j]), strict=True)):
            raise NoAdjoint("it repeats an operand along a letter")
    reach = set(right).union(*(terms[j] for j in others))
    kept = "".join(x for x in own if x in reach)
    equation = ",".join([right, *(terms[j] for j in others)]) + "->" + kept
    found = c.emit.op("Einsum", c.g, *(c.x(j) for j in others), equation=equation)
    if kept == own:
        return found
    found = c.emit.unsqueeze(found, [k for k, x in enumerate(own) if x not in reach])
    return c.emit.expand(found, c.emit.shape(c.x(i)))
