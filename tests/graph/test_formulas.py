"""What no training made is never scored as if it had been."""

import numpy as np
import pytest

from spa_cli.graph.formulas import is_table
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
    "a smooth kernel": np.outer(np.exp(-(np.linspace(-2, 2, 16) ** 2)), np.exp(-(np.linspace(-2, 2, 16) ** 2))),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(name) -> None:
    assert is_table(TABLES[name].astype(np.float32))


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(name) -> None:
    assert not is_table(WEIGHTS[name].astype(np.float32))


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
