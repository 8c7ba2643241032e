"""What is left of a tensor has to be one: combinations of indices, or slices that keep their own."""

from __future__ import annotations

import numpy as np

import spa_cli
from spa_cli.weights.shrink import shrunk
from tests.builders import build
from tests.weights import assert_commutes, planned, same, smaller

GROUPED = """(float[N,3,6,6] x) => (y) {
  a = Conv(x, w1, b1)
  g = Conv<group=2>(a, wg, bg)
  r = Relu(g)
  y = Conv(r, w2)
}"""
SHAPES = {"w1": (8, 3, 1, 1), "b1": (8,), "wg": (6, 4, 3, 3), "bg": (6,), "w2": (4, 6, 1, 1)}


def test_whole_indices() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    gone = np.zeros(array.shape, bool)
    gone[:, 1], gone[..., 2] = True, True
    assert np.array_equal(shrunk(array, gone), array[:, [0, 2]][..., [0, 1, 3]])


def test_slices_with_indices_of_their_own() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    gone = np.ones(array.shape, bool)
    gone[0, :2, 1:3] = gone[1, 1:, :2] = False
    assert np.array_equal(shrunk(array, gone), np.stack([array[0, :2, 1:3], array[1, 1:, :2]]))
    turned = shrunk(array.transpose(1, 2, 0), gone.transpose(1, 2, 0))
    assert np.array_equal(turned, np.stack([array[0, :2, 1:3], array[1, 1:, :2]], -1))


def test_the_axis_to_stack_along_can_be_named() -> None:
    """Two by two squares on the diagonal: their rows and their columns are equally good slices."""
    array = np.arange(16).reshape(4, 4)
    gone = ~np.kron(np.eye(2), np.ones((2, 2))).astype(bool)
    assert shrunk(array, gone).shape == (4, 2)
    assert np.array_equal(shrunk(array, gone, [1]), array.T[~gone].reshape(4, 2).T)


def test_what_is_no_tensor() -> None:
    gone = np.zeros((3, 3), bool)
    gone[0, 0] = True
    assert shrunk(np.ones((3, 3)), gone) is None


def test_groups_of_a_convolution_keep_their_own() -> None:
    """By names alone, by values, and with the kernel as Flax has it."""
    model = build(GROUPED, **SHAPES)
    blocks = set()
    for seed in range(4):
        plan, arrays = planned(model, seed)
        blocks.add(isinstance(plan.kept["wg"].get("1", [0])[0], list))
        result = spa_cli.apply_weights(plan, arrays)
        assert same(result.weights.tensors, smaller(plan, arrays))
    assert blocks == {True}
    assert_commutes(model, lambda w: {f"k{n}": a for n, a in w.items()})
    assert_commutes(model, lambda w: {n: a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for n, a in w.items()})
