"""Reshape to a size of which one entry is not known."""

import pytest

from spa_cli.runtime.load import load
from spa_cli.tidy.steps import tidied
from tests.builders import build
from tests.tidy.same import left, tidy

HEADS = """(float[N,3,8] x) => (float[N,3,2,4] y) {
  s = Shape(x)
  n = SIZES
  t = Concat<axis=0>(n, rest)
  y = Reshape(x, t)
}"""
SIZES = {
    "Gather": "Gather(s, zero)",
    "Slice": "Slice(s, zero, one)",
    "more than one, of which one is known": "Slice(s, zero, two)",
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_it_is_what_the_others_leave(sizes) -> None:
    rest = [2, 4] if "two" in sizes else [3, 2, 4]
    small = tidy(build(HEADS.replace("SIZES", sizes), zero=[0], one=[1], two=[2], rest=rest), ["reshapes", "unused"])
    assert left(small) == {"Reshape": 1}


SLICED = HEADS.replace("SIZES", "Slice(s, zero, one)").replace("=> (float[N,3,2,4] y)", "=> (float[p,q,r,t] y)")
STAY = {
    "two that are not known": (
        SLICED.replace("zero, one", "zero, two").replace("[N,3,8]", "[N,M,8]"),
        [2, 4],
    ),
    "one beside one that is left": (SLICED, [-1, 2, 4]),
    "zeros that are sizes": (SLICED.replace("Reshape(", "Reshape<allowzero=1>("), [3, 2, 4]),
}


@pytest.mark.parametrize(("text", "rest"), STAY.values(), ids=STAY)
def test_it_stays(text, rest) -> None:
    model = build(text, zero=[0], one=[1], two=[2], rest=rest)
    assert tidied(load(model), ["reshapes"]).tidied == {}
