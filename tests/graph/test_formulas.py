"""What no training made is never scored as if it had been."""

import numpy as np
import pytest

from spa_cli.graph.formulas import is_progression, is_table
from tests.builders import analysed, build, case, frozen, rankings
from tests.equivalence import assert_groups

N = 64
RNG = np.random.default_rng(0)
ANGLES = 2 * np.pi * np.outer(np.arange(N // 2 + 1), np.arange(N)) / N
HANN = np.hanning(N)


def mel(bins=33, bands=12) -> np.ndarray:
    """Triangles of growing width, ``(bins, bands)``."""
    edges = np.linspace(0, bins**0.5, bands + 2) ** 2
    at = np.arange(bins)[:, None]
    rise, fall = (at - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - at) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)


def sparse() -> np.ndarray:
    return np.where(RNG.random((32, 32)) < 0.1, RNG.standard_normal((32, 32)), 0).astype(np.float32)


def grids(*sizes, low=-1.0) -> list[np.ndarray]:
    """Coordinates from ``low`` to 1 along each axis, in single precision as PyTorch makes them."""
    return np.meshgrid(*(np.linspace(low, 1, n, dtype=np.float32) for n in sizes), indexing="ij")


Y, X = grids(12, 20)
RADIUS = np.sqrt(np.square(X) + np.square(Y))
CENTRED = np.sqrt(np.square(X - np.float32(0.5)) + np.square(Y - np.float32(0.5)))

TABLES = {
    "a Fourier basis": np.cos(ANGLES),
    "a windowed one": np.cos(ANGLES) * HANN,
    "cosines above sines, windowed": np.concatenate([np.cos(ANGLES), -np.sin(ANGLES)])[:, None] * HANN,
    "its transpose": (np.cos(ANGLES) * HANN).T,
    "rotary cosines": np.cos(np.outer(np.arange(16), 10000.0 ** -np.linspace(0, 1, 8)))[None, None],
    "sinusoidal positions": np.concatenate(
        [f(np.outer(np.arange(20), 10000.0 ** -np.linspace(0, 1, 16))) for f in (np.sin, np.cos)], 1
    ),
    "mel bands": mel(40, 12),
    "a causal mask": np.tril(np.ones((8, 8))),
    "an additive mask": np.triu(np.full((8, 8), -1e9), 1),
    "an identity": np.eye(16),
    "steps of a ramp": np.array([3, 0, 1]) + np.outer(np.arange(20), [1, 0.5, -2]),
    "coordinates": np.stack([X, Y])[None],
    "coordinates from 0 to 1": np.stack(grids(6, 6, low=0))[None],
    "one of them": X[None, None],
    "coordinates of four by four": np.stack(grids(4, 4))[None],
    "coordinates and a radius": np.stack([X, Y, RADIUS])[None],
    "a radius": RADIUS[None, None],
    "a radius about the middle": CENTRED[None, None],
    "coordinates, channels last": np.stack([X, Y, RADIUS], -1),
    "coordinates of a volume": np.stack(grids(4, 6, 5))[None],
    "minus infinity": np.where(np.tril(np.ones((9, 9))) > 0, 0, -np.inf),
}
WEIGHTS = {
    "noise": RNG.standard_normal((32, 32)),
    "a convolution": RNG.standard_normal((16, 8, 3, 3)),
    "few weights left": sparse(),
    "ternary weights": RNG.integers(-1, 2, (32, 32)),
    "dead weights": np.zeros((32, 32)),
    "one column left": np.where(np.arange(32) == 3, RNG.standard_normal((32, 32)), 0),
    "a bias": RNG.standard_normal(32),
    "positive weights": np.abs(RNG.standard_normal((32, 32))),
    "a small kernel": RNG.standard_normal((1, 1, 4, 4)),
    "a linear kernel": np.stack([X[:3, :3], Y[:3, :3]])[None],
    "trained positions": np.stack([X, Y])[None] + 0.01 * RNG.standard_normal((1, 2, 12, 20)),
    "a smooth kernel": np.outer(np.exp(-(np.linspace(-2, 2, 16) ** 2)), np.exp(-(np.linspace(-2, 2, 16) ** 2))),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(name) -> None:
    assert is_table(TABLES[name].astype(np.float32))


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(name) -> None:
    assert not is_table(WEIGHTS[name].astype(np.float32))


def test_coordinates_in_half_precision() -> None:
    assert is_table(np.stack([X, Y, RADIUS])[None].astype(np.float16))


def test_integers_are_no_tables() -> None:
    assert not is_table(np.tril(np.ones((8, 8), np.int8)))


SPECTRUM = """(float[N,64] x) => (y) {
  re = MatMul(x, cos)
  power = Mul(re, re)
  bands = MatMul(power, mel)
  h = MatMul(bands, wa)
  y = MatMul(h, wy)
}"""
BASIS = {"cos": (np.cos(ANGLES) * HANN).T.astype(np.float32), "mel": mel(33, 12), "wa": (12, 6), "wy": (6, 4)}


@pytest.mark.parametrize(
    ("model", "expected", "reasons"),
    [
        case(
            "between a transform and a filter bank nothing is pruned, behind it the bands are",
            SPECTRUM,
            ["12: mel:1 wa:0", "6: wa:1 wy:0"],
            {
                "cos:1": "is made by a formula (a transform, a table, a grid), not by training",
                "mel:0": "is made by a formula (a transform, a table, a grid), not by training",
            },
            **BASIS,
        )
    ],
)
def test_groups(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def test_a_channel_is_scored_by_what_was_trained() -> None:
    """The bands count as much as the weights that read them, however wide they are."""
    found = analysed(build(SPECTRUM, **BASIS))
    index = next(i for i, g in enumerate(found.grouping.groups) if g.channels == 12)
    scores = rankings(found, "l1")[index].scores
    wa = np.abs(found.graph.array("wa")).sum(1)
    assert np.allclose(scores / scores.sum(), wa / wa.sum())


def test_a_model_of_tables_alone_has_nothing_to_prune() -> None:
    model = build(
        "(float[N,64] x) => (y) { re = MatMul(x, cos)  power = Mul(re, re)  y = MatMul(power, mel) }",
        cos=BASIS["cos"],
        mel=BASIS["mel"],
    )
    assert analysed(model).grouping.groups == []
    assert set(frozen(model)) == {"cos:0", "cos:1", "mel:0", "mel:1"}


COORDINATES = """(float[N,3,12,20] x) => (y) {
  a = Conv<pads=[1,1,1,1]>(x, wa)
  h = Relu(a)
  n = Shape<end=1>(x)
  size = Concat<axis=0>(n, three)
  e = Expand(c, size)
  j = Concat<axis=1>(h, e)
  y = Conv(j, wy)
}"""


@pytest.mark.parametrize(
    ("model", "expected", "reasons"),
    [
        case(
            "coordinates beside channels",
            COORDINATES,
            ["8: wa:0 wy:1"],
            {"c:1": "is made by a formula (a transform, a table, a grid), not by training"},
            wa=(8, 3, 3, 3),
            wy=(5, 11, 1, 1),
            c=np.stack([X, Y, RADIUS])[None],
            three=[3, 12, 20],
        ),
        case(
            "coordinates beside an image",
            """(float[1,3,12,20] x) => (y) {
              j = Concat<axis=1>(x, c)
              a = Conv(j, wa)
              h = Relu(a)
              y = Conv(h, wy)
            }""",
            ["8: wa:0 wy:1"],
            {"c:1": "is made by a formula (a transform, a table, a grid), not by training"},
            wa=(8, 5, 3, 3),
            wy=(5, 8, 1, 1),
            c=np.stack([X, Y])[None],
        ),
        case(
            "positions that were trained are channels",
            COORDINATES,
            ["3: c:1 wy:1", "8: wa:0 wy:1"],
            wa=(8, 3, 3, 3),
            wy=(5, 11, 1, 1),
            c=(1, 3, 12, 20),
            three=[3, 12, 20],
        ),
    ],
)
def test_maps_of_coordinates_are_no_channels(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.arange(6.0), True),
        (10000.0 ** (-np.arange(8) / 8), True),
        (np.linspace(1, 0, 5)[None], True),
        (np.arange(3.0), False),
        (np.ones(8), False),
        (np.array([1.0, 2, 4, 8.5]), False),
        (np.arange(8.0).reshape(2, 4), False),
        (np.array([0, 1, 2, np.inf]), False),
    ],
)
def test_progressions(values, said) -> None:
    assert is_progression(values) == said
