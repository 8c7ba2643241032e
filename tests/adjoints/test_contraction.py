"""Sums of products."""

import pytest

from tests.adjoints.differences import check, model_of, noise

MATMUL = [
    ((3, 4), (4, 2)),
    ((2, 3, 4), (4, 2)),
    ((2, 3, 4), (2, 4, 2)),
    ((5, 1, 3, 4), (2, 4, 2)),
    ((3, 4), (2, 4, 2)),
    ((1, 3, 4), (2, 4, 2)),
    ((4,), (4, 2)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 3)),
    ((4,), (4,)),
]


@pytest.mark.parametrize("shapes", MATMUL)
def test_matmul(shapes) -> None:
    inputs = {"a": noise(*shapes[0]), "b": noise(*shapes[1], seed=1)}
    check(model_of("y = MatMul(a, b)", inputs, {}), inputs, ["a", "b"])


def test_matmul_of_another_batch() -> None:
    first, second = ({"a": noise(n, 3, 4), "b": noise(n, 4, 2, seed=1)} for n in (1, 3))
    model = model_of("y = MatMul(a, b)", first, {}, free=True)
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_param = "a_0"
    check(model, first, ["a", "b"], second)


@pytest.mark.parametrize("ta", [0, 1])
@pytest.mark.parametrize("tb", [0, 1])
@pytest.mark.parametrize("opset", [9, 13])
def test_gemm(ta, tb, opset) -> None:
    inputs = {"a": noise(3, 4).T if ta else noise(3, 4), "b": noise(4, 2).T if tb else noise(4, 2), "c": noise(2)}
    body = f"y = Gemm<transA={ta}, transB={tb}, alpha=0.5, beta=2.0>(a, b, c)"
    check(model_of(body, inputs, {}, opset=opset), inputs, ["a", "b", "c"])


EINSUM = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("bij,bjk->bik", (2, 2, 3), (2, 3, 2)),
    ("bhid,bhjd->bhij", (1, 2, 3, 2), (1, 2, 2, 2)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ij,kj->i", (2, 3), (4, 3)),
    ("ijk,jl->il", (2, 3, 2), (3, 2)),
    ("...ij,jk->...ik", (2, 2, 3), (3, 2)),
]


@pytest.mark.parametrize(("equation", "a", "b"), EINSUM)
def test_einsum(equation, a, b) -> None:
    inputs = {"a": noise(*a), "b": noise(*b, seed=1)}
    check(model_of(f'y = Einsum<equation="{equation}">(a, b)', inputs, {}), inputs, ["a", "b"])


def test_einsum_of_one() -> None:
    inputs = {"a": noise(2, 3, 4)}
    check(model_of('y = Einsum<equation="ijk->ki">(a)', inputs, {}), inputs, ["a"])
