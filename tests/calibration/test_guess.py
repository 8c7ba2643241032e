"""The range of pictures, where the first operators don't say it, is tried."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.analysis import analyse_model
from spa_cli.calibration.guess import decided, first_sum
from spa_cli.calibration.kinds import Input, Kind
from spa_cli.calibration.rules import kind_of
from spa_cli.graph.view import build as view
from spa_cli.runtime.load import load
from tests.builders import build

RNG = np.random.default_rng(3)
W = RNG.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
NARROW = "pixels less their mean, by their deviation or -1 to 1 or 0 to 1"
WIDE = "pixels 0 to 255 less their mean or 0 to 255"


def guessed(text: str, **arrays: object) -> Kind:
    analysis = analyse_model(load(build(f"(float[N,3,16,16] x) => (y) {{ {text} }}", **arrays)), {})
    return decided(analysis, {"x": kind_of(Input(analysis.graph, "x", (3, 16, 16)))})["x"]


@pytest.mark.parametrize(("scale", "words"), [(1.0, NARROW), (1 / 255, WIDE)])
def test_a_first_bias_tells_narrow_from_wide(scale, words) -> None:
    """Weights a 255th of the usual are for pixels a 255 times as large."""
    found = guessed("a = Conv(x, w, b)  y = Relu(a)", w=W * scale, b=np.full(8, 0.5, np.float32))
    assert found.about == f"dead leaves, {words} (there its first bias is in proportion)"
    assert found.doubtful


@pytest.mark.parametrize(
    ("middle", "spread", "words"),
    [(0.46, 0.25, "0 to 1"), (-0.07, 0.5, "-1 to 1"), (0, 1.1, "less their mean, by their"), (118, 65, "0 to 255 (")],
)
def test_statistics_stored_behind_the_first_sum_tell_the_range(middle, spread, words) -> None:
    """Here of single pixels, whose colours vary together."""
    w = abs(W[..., :1, :1])
    total = w.sum((1, 2, 3))
    found = guessed(
        "a = Conv(x, w)  y = BatchNormalization(a, g, g, m, v)",
        w=w, g=np.ones(8, np.float32), m=np.float32(middle * total), v=np.float32(np.square(spread * total)),
    )  # fmt: skip
    assert f"pixels {words}" in found.about
    assert "as the first BatchNormalization stores" in found.about
    assert not found.doubtful


@pytest.mark.parametrize(("scale", "words"), [(30.0, NARROW), (1.0, WIDE)])
def test_a_classifier_tells_pictures_apart_in_its_own_range(scale, words) -> None:
    """Without a bias in proportion: small logits know nothing of narrow pictures."""
    v = RNG.normal(0, 0.01 * scale, (8, 10)).astype(np.float32)
    text = "a = Conv(x, w)  r = Relu(a)  p = GlobalAveragePool(r)  f = Flatten(p)  y = MatMul(f, v)"
    found = guessed(text, w=W / (1 if scale > 1 else 5), v=v)
    assert f"{words} (there it tells them apart)" in found.about


def test_nothing_to_go_by_is_narrow_and_doubtful() -> None:
    found = guessed("y = Relu(x)")
    assert found.about == f"dead leaves, {NARROW}"
    assert found.told.endswith("guessed")


def test_the_first_sum_is_found_behind_slices_with_its_bias_and_its_norm() -> None:
    graph = view(
        build(
            """(float[N,3,16,16] x) => (y) { s = Slice(x, one, two, two)  j = Concat<axis=1>(s, s)
            a = Conv(j, w)  c = Add(a, b)  y = BatchNormalization(c, g, g, g, g) }""",
            one=[0], two=[2], w=(8, 6, 3, 3), b=(8, 1, 1), g=np.ones(8, np.float32),
        ), "",
    )  # fmt: skip
    found = first_sum(graph, "x")
    assert (found.tensor, found.axis) == ("c", 1)
    assert np.allclose(found.norm, 1)
