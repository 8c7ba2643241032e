"""Transpositions of what was transposed before."""

from itertools import permutations

import numpy as np
import pytest

from tests.builders import build
from tests.tidy.same import left, tidy

STEPS = ["idle", "transposes", "unused"]


@pytest.mark.parametrize("second", list(permutations(range(3))))
def test_two_are_one_or_none(second) -> None:
    first = (1, 2, 0)
    text = f"""(float[2,3,4] x) => (y) {{
      a = Relu(x)
      b = Transpose<perm={[*first]}>(a)
      c = Transpose<perm={[*second]}>(b)
      y = Neg(c)
    }}"""
    inverse = np.argsort(first).tolist() == [*second]
    assert left(tidy(build(text), STEPS)) == {"Relu": 1, "Neg": 1} | ({} if inverse else {"Transpose": 1})


def test_without_an_order_they_turn_around() -> None:
    text = "(float[N,3,4] x) => (y) { b = Transpose(x)\n c = Transpose(b)\n y = Neg(c) }"
    assert left(tidy(build(text), STEPS)) == {"Neg": 1}


def test_what_others_read_stays() -> None:
    text = "(float[N,3,4] x) => (b, y) { b = Transpose(x)\n c = Transpose(b)\n y = Neg(c) }"
    assert left(tidy(build(text), STEPS)) == {"Transpose": 1, "Neg": 1}
