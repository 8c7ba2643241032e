"""Contractions written as matrix products: MatMul, Gemm, Einsum."""

from __future__ import annotations

from collections.abc import Sequence

from spa_cli.graph.model import Node
from spa_cli.operators.labelled import labelled
from spa_cli.operators.registry import MICROSOFT


@labelled("MatMul", fitted=(1, 0))
@labelled("FusedMatMul TransposeMatMul", domain=MICROSOFT, fitted=(1, 0))
def matmul(node: Node, ranks: Sequence[int]) -> str:
    """``(..., m, k) @ (..., k, n)``: k is contracted, leading axes broadcast, m and n pass."""
    a, b = (_matrix(node, rank, ends, side) for rank, ends, side in zip(ranks, ("mk", "kn"), "AB", strict=True))
    return f"{a},{b}->...{'m' if 'm' in a else ''}{'n' if 'n' in b else ''}"


def _matrix(node: Node, rank: int, ends: str, side: str) -> str:
    """Vectors have the contracted axis alone."""
    if rank == 1:
        return "k"
    ends = ends[::-1] if node.attr(f"trans{side}", 0) else ends
    return f"{ends[0]}...{ends[1]}" if node.attr(f"transBatch{side}", 0) else f"...{ends}"


@labelled("Gemm", bias=2, fitted=(1, 0))
@labelled("FusedGemm", domain=MICROSOFT, bias=2, fitted=(1, 0))
def gemm(node: Node, ranks: Sequence[int]) -> str:
    """``A @ B + C`` on matrices, either transposed."""
    a, b = "km" if node.attr("transA", 0) else "mk", "nk" if node.attr("transB", 0) else "kn"
    return f"{a},{b}->mn"


@labelled("Einsum", operands=(), fitted=(1, 0))
def einsum(node: Node, ranks: Sequence[int]) -> str:
    """Every label is one axis; labels missing from the output are contracted."""
    return str(node.attr("equation", ""))
