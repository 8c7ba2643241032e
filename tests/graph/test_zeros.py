"""Tensors of zeros, however large they are made."""

import numpy as np
import pytest

from spa_cli.graph.view import build as view
from spa_cli.graph.zeros import only_zeros
from tests.builders import build

CASES = [
    ("zeros of a computed size", "s = Shape(x)\n h = ConstantOfShape(s)", True),
    ("the same of ones", "s = Shape(x)\n h = ConstantOfShape<value = float[1] {1.0}>(s)", False),
    ("an initializer of zeros, expanded", "s = Shape(x)\n h = Expand(zeros, s)", True),
    ("an initializer with one that is none", "h = Identity(some)", False),
    (
        "a slice, as PyTorch takes one layer's",
        "s = Shape(x)\n c = ConstantOfShape(s)\n h = Slice(c, zero, one, zero)",
        True,
    ),
    ("zeros beside zeros", "s = Shape(x)\n c = ConstantOfShape(s)\n h = Concat<axis=0>(c, zeros)", True),
    ("zeros beside data", "s = Shape(x)\n c = ConstantOfShape(s)\n h = Concat<axis=0>(c, x)", False),
    ("data", "h = Identity(x)", False),
    ("what is computed of zeros", "s = Shape(x)\n c = ConstantOfShape(s)\n h = Exp(c)", False),
]


@pytest.mark.parametrize(("text", "zero"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_only_zeros(text, zero) -> None:
    model = build(
        f"(float[N,4] x) => (float[A,B] h) {{ {text} }}",
        zeros=np.zeros((1, 4), np.float32),
        some=np.eye(2, 4, dtype=np.float32),
        zero=[0],
        one=[1],
    )
    assert only_zeros(view(model, ""), "h") is zero
