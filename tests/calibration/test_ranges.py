"""What the first operators say of the range of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.calibration.ranges import NORMAL, PIXELS, SIGNED, UNIT, Range, preparation, stated
from spa_cli.graph.view import build as view
from tests.builders import build

MEAN, DEVIATION = np.float32([123.7, 116.3, 103.5]), np.float32([58.4, 57.1, 57.4])
STEPS = {
    "Div by 255": ("y = Div(x, c)", {"c": 255.0}, PIXELS, "Div 255"),
    "Mul, Sub 1": ("a = Mul(x, c)  y = Sub(a, d)", {"c": 1 / 127.5, "d": 1.0}, PIXELS, "Mul 0.00784, Sub 1"),
    "mean and deviation of pixels": (
        "a = Sub(x, c)  y = Div(a, d)",
        {"c": MEAN.reshape(1, 3, 1, 1), "d": DEVIATION.reshape(1, 3, 1, 1)},
        PIXELS,
        "Sub 124 116 104, Div 58.4 57.1 57.4",
    ),
    "mean and deviation of 0 to 1": (
        "a = Sub(x, c)  y = Div(a, d)",
        {"c": 0.485, "d": 0.229},
        UNIT,
        "Sub 0.485, Div 0.229",
    ),
    "mean only": ("y = Sub(x, c)", {"c": 120.0}, PIXELS, "Sub 120"),
    "mean of 0 to 1 only": ("y = Sub(x, c)", {"c": 0.485}, UNIT, "Sub 0.485"),
    "from the middle": ("a = Mul(c, x)  y = Add(a, c)", {"c": 0.5}, SIGNED, "Mul 0.5, Add 0.5"),
    "backwards": ("a = Div(x, c)  y = Sub(d, a)", {"c": 255.0, "d": 1.0}, PIXELS, "Div 255, Sub 1"),
    "behind other things": (
        "t = Transpose<perm=[0,2,3,1]>(x)  k = Cast<to=1>(t)  y = Mul(k, c)",
        {"c": 0.0039},
        PIXELS,
        "Cast, Mul 0.0039",
    ),
}


def said(text: str, whole: bool = False, **arrays: object) -> tuple[Range | None, str]:
    graph = view(build(f"(float[N,3,16,16] x) => (y) {{ {text} }}", **arrays), "")
    found = preparation(graph, "x")
    return stated(found, whole), found.because


@pytest.mark.parametrize("name", STEPS)
def test_the_first_operators_tell(name) -> None:
    text, arrays, expected, words = STEPS[name]
    assert said(text, **arrays) == (expected, words)


def test_nothing_is_told_without_constants_and_integers_are_pixels() -> None:
    assert said("y = Relu(x)") == (None, "")
    assert said("y = Relu(x)", whole=True) == (PIXELS, "")
    assert said("a = Relu(x)  y = Mul(a, x)") == (None, "")


def test_a_batch_norm_on_the_input_holds_its_statistics() -> None:
    found, because = said(
        "a = Div(x, c)  y = BatchNormalization(a, g, g, m, v)",
        c=2.0, g=np.ones(3, np.float32), m=np.float32([1, 2, 3]), v=np.float32([4, 4, 9]),
    )  # fmt: skip
    assert because == "Div 2, BatchNormalization"
    pixels = np.random.default_rng(0).normal(118, 66, (2000, 3, 8, 8)).astype(np.float32)
    values = found.of(pixels, 1)
    assert np.allclose(values.mean((0, 2, 3)), [2, 4, 6], atol=0.1)
    assert np.allclose(values.std((0, 2, 3)), [4, 4, 6], atol=0.1)


def test_a_quantised_input_tells_its_limits() -> None:
    found, because = said("q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z)", s=2.0, z=np.array(10, np.uint8))
    assert (found.about, because) == ("pixels -20 to 490", "QuantizeLinear")
    assert np.allclose(found.of(np.array([[[[0]], [[255]], [[0]]]]), 1).ravel(), [-20, 490, -20])


def test_a_range_of_colours_serves_grey() -> None:
    grey = np.full((1, 1, 2, 2), 114, np.uint8)
    assert abs(NORMAL.of(grey, 1)).max() < 0.1
    assert PIXELS.of(grey, 1).dtype == np.float32
