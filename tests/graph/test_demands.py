"""What nodes ask of sizes: met where onnxruntime runs, told by both numbers where it does not."""

from __future__ import annotations

import pytest

from fuzz.seeds import seeds
from spa_cli.analysis import fitting
from spa_cli.graph.demands import Demand, demands
from spa_cli.graph.shapes import constant, interpret
from spa_cli.graph.view import build as view
from tests.builders import build

X = "(float[1,4,6] x) => (float[a,b,c] y)"
ASKED = {
    "a table that is added": ("y = Add(x, w)", {"w": (1, 5, 6)}, {("y", "-2 0"): Demand(4, 5)}),
    "a table for each of three": ("y = Sum(x, v, w)", {"v": (1, 1, 6), "w": (5, 1)}, {("y", "-2 0"): Demand(4, 5)}),
    "Where": ("c = Greater(x, x) y = Where(c, x, w)", {"w": (5, 6)}, {("y", "-2 1"): Demand(4, 5)}),
    "Reshape": ("y = Reshape(x, s)", {"s": [1, 5, 6]}, {("y", "elements"): Demand(24, 30)}),
    "Reshape of what is left": ("y = Reshape(x, s)", {"s": [-1, 5]}, {("y", "multiple"): Demand(24, 5, multiple=True)}),
    "Expand": ("y = Expand(x, s)", {"s": [2, 5, 6]}, {("y", "-2 0"): Demand(4, 5)}),
    "MatMul": ("y = MatMul(x, w)", {"w": (5, 3)}, {("y", "inner"): Demand(6, 5)}),
    "Gemm": ("f = Flatten(x) y = Gemm<transB=1>(f, w)", {"w": (3, 30)}, {("y", "inner"): Demand(24, 30)}),
    "Conv": ("y = Conv<group=2>(x, w)", {"w": (8, 3, 1)}, {("y", "channels"): Demand(4, 6)}),
    "Concat": ("y = Concat<axis=2>(x, w)", {"w": (1, 5, 6)}, {("y", "1 0"): Demand(4, 5)}),
    "Split": ("y, z = Split<axis=-1>(x, s)", {"s": [2, 3]}, {("y", "parts"): Demand(6, 5)}),
    "Squeeze": ("y = Squeeze(x, s)", {"s": [1]}, {("y", "1"): Demand(4, 1)}),
    "LayerNormalization": ("y = LayerNormalization(x, w)", {"w": (5, 6)}, {("y", "-2"): Demand(4, 5)}),
}


def _broken(text: str, weights: dict[str, object]) -> dict[tuple[str, str], Demand]:
    graph = view(build(f"{X} {{ {text} }}", **weights), "")
    known = interpret(graph, {"x": (1, 4, 6)})
    return {p: d for p, d in demands(graph, known, lambda name: constant(graph, known, name)).items() if not d.met}


@pytest.mark.parametrize("name", ASKED)
def test_what_does_not_fit_is_told(name) -> None:
    text, weights, broken = ASKED[name]
    assert _broken(text, weights) == broken


def test_what_fits_asks_for_nothing_else() -> None:
    text = (
        "r = Reshape(x, s) e = Expand(r, f) m = MatMul(e, w) c = Concat<axis=-1>(m, m) q = Squeeze(c, z) y = Add(q, b)"
    )
    assert not _broken(text, {"s": [0, 2, -1], "f": [1, 1, 1], "w": (12, 3), "z": [0], "b": (1, 6)})


def test_what_is_no_size_asks_for_nothing() -> None:
    assert not _broken("r = Reshape(x, s) y = Relu(r)", {"s": [1 << 40, 1 << 40, 1]})


def test_of_sound_models_nothing_is_broken_where_they_are_analysed() -> None:
    for seed in seeds(None)[0][::9]:
        found = fitting(view(seed.model(), ""), {})
        assert not found.misfits, seed.name
