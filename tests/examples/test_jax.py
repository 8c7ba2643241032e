"""Pruning at any time in JAX: accuracy, sizes, and that both routes lead to the same network."""

from __future__ import annotations

import numpy as np
import pytest

from tests.extras import needs

needs("jax", "flax", "jax2onnx", "optax", "safetensors", "sklearn")

import jax_any_time
from digits_jax import Mixer, dense, scores, state_of, untrained
from flax import nnx
from routes_jax import cut

import train_mixer

# what jax2onnx says to its own developers
pytestmark = pytest.mark.filterwarnings("ignore")


def holds(row, points=1.0) -> None:
    assert row.macs <= 0.5
    assert row.accuracy >= row.dense - points, row


def test_the_dense_network_is_the_sample_models() -> None:
    original = train_mixer.Mixer(nnx.Rngs(0))
    images = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    np.testing.assert_array_equal(original(images), Mixer(state_of(original))(images))


@pytest.mark.parametrize("method", ["l1", "obspa"])
def test_both_routes_give_the_same_network(method, tmp_path) -> None:
    options = {"repaired": True, "calib": jax_any_time.IMAGES} if method == "obspa" else {}
    smaller = cut(Mixer(dense()), tmp_path, target_macs=0.5, method=method, **options)
    assert smaller.macs <= 0.5
    found, wanted = scores(smaller.model), jax_any_time.onnx_scores(tmp_path / "small.onnx")
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_an_untrained_network(tmp_path) -> None:
    smaller = cut(untrained(), tmp_path, target_macs=0.5, method="random")
    found, wanted = scores(smaller.model), jax_any_time.onnx_scores(tmp_path / "small.onnx")
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_before_training(tmp_path) -> None:
    holds(jax_any_time.before_training(tmp_path))


def test_after_training(tmp_path) -> None:
    as_it_is, tuned = jax_any_time.after_training(tmp_path)
    holds(as_it_is, points=3.0)
    holds(tuned)
