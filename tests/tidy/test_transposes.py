"""Transpositions of what was transposed before."""

from itertools import permutations

import numpy as np
import pytest

from spa_cli.tidy.draft import Draft
from spa_cli.tidy.transposes import join_transposes
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


def test_orders_of_other_lengths_stay() -> None:
    model = build(
        "(float[N,3,4] x) => (y) { b = Transpose<perm=[0,2,1]>(x)\n c = Transpose<perm=[0,2,1]>(b)\n y = Neg(c) }"
    )
    del model.graph.node[0].attribute[0].ints[2]
    assert join_transposes(Draft(model, "")) == 0
