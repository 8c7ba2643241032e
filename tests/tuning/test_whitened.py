"""Steps of a layer are steps of what it gives: however large its inputs are, and however they are mixed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from spa_cli.analysis import analyse_model
from spa_cli.calibration.chunks import Calibration
from spa_cli.runtime.load import load
from spa_cli.tuning import whitened as room
from spa_cli.tuning.batches import Batches
from spa_cli.tuning.optimiser import Adam
from spa_cli.tuning.whitened import White, whitened
from tests.builders import build

RNG = np.random.default_rng(0)
MIXED = (RNG.normal(size=(96, 6)) @ RNG.normal(size=(6, 6)) * [100, 10, 1, 1, 0.1, 0.01] + 3).astype(np.float32)
LINEAR = "(float[N,6] x) => (y) { y = MatMul(x, w) }"
LAYERS = {
    "conv": ("(float[N,4,6,6] x) => (y) { y = Conv<group=2, pads=[1,1,1,1]>(x, w, b) }", (6, 2, 3, 3), (24, 4, 6, 6)),
    "transposed conv": ("(float[N,4,6,6] x) => (y) { y = ConvTranspose(x, w, b) }", (4, 6, 2, 2), (24, 4, 6, 6)),
    "gemm": ("(float[N,5] x) => (y) { y = Gemm<transB=1>(x, w, b) }", (6, 5), (24, 5)),
    "behind a transpose": ("(float[N,5] x) => (y) { t = Transpose<perm=[1,0]>(w)  y = MatMul(x, t) }", (6, 5), (24, 5)),
}


def _white(model: onnx.ModelProto, x: np.ndarray, *names: str) -> White:
    source = load(model)
    analysis = analyse_model(source, {"x": x.shape})
    return whitened(analysis, names, Batches.of(source.graph, Calibration([{"x": x}], ""), 8), 0)


def _moved(x: np.ndarray, w: np.ndarray, slope: np.ndarray, rate: float = 0.01) -> np.ndarray:
    """By how much one step changes the outputs; ``slope``: of the loss in them."""
    white = _white(build(LINEAR, w=w), x, "w")
    weights = {"w": w.copy()}
    Adam(weights, white).step(weights, {"w": x.T @ slope}, rate)
    return x @ (weights["w"] - w)


def test_a_step_changes_every_output_by_its_rate() -> None:
    w, slope = RNG.normal(size=(6, 3)).astype(np.float32), RNG.normal(size=(96, 3)).astype(np.float32)
    for scale in (1e-2, 1.0, 1e2):
        moved = _moved(MIXED, (scale * w).astype(np.float32), (5 * slope).astype(np.float32))
        expected = 0.01 * (scale * MIXED @ w).std(0)
        np.testing.assert_allclose(np.sqrt(np.square(moved).mean(0)), expected, rtol=0.05)


def test_how_inputs_are_mixed_makes_no_difference(monkeypatch) -> None:
    monkeypatch.setattr(room, "_DAMPING", 1e-6)
    monkeypatch.setattr(room, "oracle_approximating", lambda *_: 0.0)
    x, turn = RNG.normal(size=(96, 6)).astype(np.float32), np.linalg.qr(RNG.normal(size=(6, 6)))[0] * [1, 2, 3, 1, 2, 3]
    w, slope = RNG.normal(size=(6, 3)).astype(np.float32), RNG.normal(size=(96, 3)).astype(np.float32)
    other = _moved((x @ turn).astype(np.float32), np.linalg.solve(turn, w).astype(np.float32), slope)
    np.testing.assert_allclose(_moved(x, w, slope), other, atol=1e-3 * np.abs(other).max())


def _left(seed: int) -> float:
    """The error left by 100 steps, over what is left by steps of Adam alone."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(96, 6)) @ rng.normal(size=(6, 6)) * [4, 2, 1, 1, 1, 1] + 3).astype(np.float32)
    w = rng.normal(size=(6, 3)).astype(np.float32)
    start = (w + 0.3 * rng.normal(size=w.shape)).astype(np.float32)
    left = []
    for white in (_white(build(LINEAR, w=start), x, "w"), White({}, {})):
        weights = {"w": start.copy()}
        adam = Adam(weights, white)
        for step in range(100):
            adam.step(weights, {"w": x.T @ (x @ (weights["w"] - w))}, 0.05 * (1 - step / 100))
        left.append(float(np.square(x @ (weights["w"] - w)).mean()))
    return left[0] / left[1]


def test_what_is_badly_mixed_is_learned_sooner() -> None:
    # by nine draws, since single ones differ
    assert np.median([_left(seed) for seed in range(9)]) < 0.1


@pytest.mark.parametrize("kind", LAYERS)
def test_weights_in_every_form(kind) -> None:
    text, shape, given = LAYERS[kind]
    model = build(text, w=shape, **({"b": (6,)} if "b)" in text else {}))
    white = _white(model, RNG.normal(size=given).astype(np.float32), "w", "b")
    layer, gradient = white.layers["w"], RNG.normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(layer.stored(layer.matrix(gradient)), gradient, rtol=1e-6)
    change, energy = layer.white(gradient)
    assert energy.shape == layer.gives.shape == change.shape[:2]
    assert (energy > 0).all()
    if kind in ("conv", "gemm"):
        assert white.sizes["b"].shape == (6,)


def test_both_weights_of_a_recurrent_layer() -> None:
    text = "(float[5,N,4] x) => (y) { y, h, c = LSTM<hidden_size=3>(x, w, r) }"
    model = build(text, w=(1, 12, 4), r=(1, 12, 3))
    source = load(model)
    x = RNG.normal(size=(5, 8, 4)).astype(np.float32)
    analysis = analyse_model(source, {"x": x.shape})
    white = whitened(analysis, ["w", "r"], Batches([{"x": x}], 8, False), 0)
    assert {name: layer.inverse.shape for name, layer in white.layers.items()} == {"w": (1, 4, 4), "r": (1, 3, 3)}


def test_numbers_that_stand_for_others_are_left_to_adam() -> None:
    scaled = """(float[N,6] x) => (y) {
      d = DequantizeLinear(w, s)  t = Cast<to=1>(h)  m = MatMul(x, d)  r = Relu(m)
      c = DequantizeLinear(b, s)  y = Gemm(r, t, c)
    }"""
    integers = {"w": RNG.integers(-99, 99, (6, 4)).astype(np.int8), "b": RNG.integers(-99, 99, 3).astype(np.int32)}
    model = build(scaled, s=np.array(0.02, np.float32), h=RNG.normal(size=(4, 3)).astype(np.float16), **integers)
    white = _white(model, MIXED, "w", "h", "b")
    assert {*white.layers} == {"h"}
    assert not white.sizes
    step = white.layers["h"].stored(np.full((1, 3, 4), 1e-6, np.float32))
    # what is added to weights in single precision is not rounded to half
    assert step.dtype == np.float32
    np.testing.assert_allclose(step, 1e-6, rtol=1e-6)


def test_what_two_layers_read_and_what_is_too_wide_is_left_to_adam(monkeypatch) -> None:
    shared = build("(float[N,6] x) => (y) { a = MatMul(x, w)  y = MatMul(a, w) }", w=(6, 6))
    assert not _white(shared, MIXED, "w").layers
    assert _white(build(LINEAR, w=(6, 3)), MIXED, "w").layers
    assert not _white(build(LINEAR, w=(6, 3)), MIXED).layers
    monkeypatch.setattr(room, "_WIDEST", 5)
    assert not _white(build(LINEAR, w=(6, 3)), MIXED, "w").layers
