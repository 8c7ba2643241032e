"""Contractions written as matrix products: MatMul, Gemm, Einsum."""

from __future__ import annotations

from spa_cli.graph.model import Node
from spa_cli.operators.contraction import contraction
from spa_cli.operators.labels import Labels
from spa_cli.operators.registry import MICROSOFT


@contraction("MatMul", fitted=(1, 0))
@contraction("FusedMatMul TransposeMatMul", domain=MICROSOFT, fitted=(1, 0), shape="MatMul")
def matmul(node: Node, ranks: list[int]) -> Labels:
    """``(..., m, k) @ (..., k, n)``: k is contracted, leading axes broadcast, m and n pass."""
    terms, ends = [], [["m", "k"], ["k", "n"]]
    for rank, end, side in zip(ranks, ends, "AB", strict=True):
        batch = [f".{i}" for i in range(2 - rank, 0)]
        end = ["k"] if rank == 1 else end[::-1] if node.attr(f"trans{side}", 0) else end
        terms.append([end[0], *batch, *end[1:]] if node.attr(f"transBatch{side}", 0) else [*batch, *end])
    batch = [f".{i}" for i in range(2 - max(ranks), 0)]
    result = [*batch, *(label for label in "mn" if any(label in term for term in terms))]
    return Labels((tuple(terms[0]), tuple(terms[1])), tuple(result))


@contraction("Gemm", bias=2, fitted=(1, 0))
@contraction("FusedGemm", domain=MICROSOFT, bias=2, fitted=(1, 0), shape="Gemm")
def gemm(node: Node, ranks: list[int]) -> Labels:
    """``A @ B + C`` on matrices, either transposed."""
    return matmul(node, [2, 2])


@contraction("Einsum", operands=(), fitted=(1, 0))
def einsum(node: Node, ranks: list[int]) -> Labels:
    """Every label is one axis; labels missing from the output are contracted."""
    left, arrow, right = str(node.attr("equation", "")).replace(" ", "").partition("->")
    terms, dots = [], 0
    for text, rank in zip(left.split(","), ranks, strict=True):
        extra = rank - len(text.replace("...", "")) if "..." in text else 0
        dots = max(dots, extra)
        terms.append(_labels(text, extra))
    if not arrow:
        flat = [label for term in terms for label in term]
        right = ("..." if dots else "") + "".join(sorted(x for x in set(flat) if x.isalpha() and flat.count(x) == 1))
    return Labels(tuple(terms), _labels(right, dots))


def _labels(text: str, dots: int) -> tuple[str, ...]:
    """``...`` becomes labels of its own, numbered from the end."""
    head, found, tail = text.partition("...")
    return (*head, *(f".{i}" for i in range(-dots, 0) if found), *tail)
