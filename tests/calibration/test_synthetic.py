import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.analysis import analyse_model
from spa_cli.calibration.chunks import Calibration
from spa_cli.calibration.synthetic import synthetic
from spa_cli.errors import ModelError
from spa_cli.runtime.load import load
from tests.builders import build


def made(model: onnx.ModelProto, samples: int = 32, seed: int = 0) -> tuple[Calibration, dict[str, np.ndarray]]:
    calibration = synthetic(analyse_model(load(model), {}), samples, seed)
    return calibration, {n: np.concatenate([c[n] for c in calibration.chunks]) for n in calibration.chunks[0]}


IMAGES = """(float[N,3,16,16] x) => (y) {
  a = Conv<pads=[1,1,1,1]>(x, w)  b = Relu(a)  p = GlobalAveragePool(b)  f = Flatten(p)  y = MatMul(f, v)
}"""


def test_images_get_dead_leaves_and_a_classifier_chooses_among_them() -> None:
    calibration, data = made(build(IMAGES, w=(8, 3, 3, 3), v=(8, 5)), 64)
    assert data["x"].shape == (64, 3, 16, 16)
    assert data["x"].dtype == np.float32
    assert not calibration.noise
    assert "(there it tells them apart), guessed, of 256 those with evenly spread predictions" in calibration.about
    assert calibration.warning.startswith("what input 'x' (dead leaves, pixels ")
    assert calibration.warning.endswith(" takes was guessed, and all figures rest on that; give --calib")


def test_bytes_are_kept_as_bytes_and_nothing_is_guessed() -> None:
    model = build(
        "(uint8[1,16,16,3] x) => (y) { c = Cast<to=1>(x)  t = Transpose<perm=[0,3,1,2]>(c)  y = Conv(t, w) }",
        w=(4, 3, 3, 3),
    )
    calibration, data = made(model, 6)
    assert calibration.about == "6 synthetic samples (x: dead leaves, pixels 0 to 255 (uint8; Cast))"
    assert calibration.warning == ""
    assert data["x"].dtype == np.uint8
    assert data["x"].max() > 200


def test_networks_with_batch_norms_choose_by_what_these_store() -> None:
    text = "(float[N,3,16,16] x) => (y) { a = Conv(x, w)  y = BatchNormalization(a, g, g, g, g) }"
    calibration, data = made(build(text, w=(4, 3, 3, 3), g=np.ones(4, np.float32)), 8)
    assert "of 32 those nearest to what its BatchNormalizations store" in calibration.about
    assert data["x"].shape == (8, 3, 16, 16)


def test_scores_of_tokens_choose_no_samples() -> None:
    text = "(float[N,3,8,8] x) => (y) { f = Reshape(x, size)  y = MatMul(f, v) }"
    _, data = made(build(text, size=[-1, 8], v=(8, 5)), 24)
    assert data["x"].shape == (24, 3, 8, 8)


TEXT = """(int64[N,12] ids, int64[N,12] attention_mask, int64[N,12] position_ids) => (y) {
  a = Gather(words, ids)  b = Gather(places, position_ids)  m = Cast<to=1>(attention_mask)
  n = Unsqueeze(m, last)  c = Add(a, b)  d = Mul(c, n)  y = MatMul(d, v)
}"""


def test_tokens_follow_zipf_masks_are_ones_positions_are_in_order() -> None:
    model = build(TEXT, words=(50, 8), places=(12, 8), last=[-1], v=(8, 4))
    calibration, data = made(model, 40)
    assert data["ids"].min() == 0
    assert data["ids"].max() < 50
    counts = np.bincount(data["ids"].ravel(), minlength=50)
    assert counts[0] > 3 * counts[5] > 0
    assert (data["attention_mask"] == 1).all()
    assert (data["position_ids"] == np.arange(12)).all()
    assert not calibration.noise


def test_a_fixed_batch_gets_chunks_of_its_size() -> None:
    calibration, _ = made(build(IMAGES.replace("[N,", "[2,"), w=(8, 3, 3, 3), v=(8, 5)), 12)
    assert [c["x"].shape for c in calibration.chunks] == [(2, 3, 16, 16)] * 6


def test_the_seed_decides() -> None:
    model = build(IMAGES, w=(8, 3, 3, 3), v=(8, 5))
    first, again, other = (made(model, 16, seed)[1]["x"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_model_without_inputs_has_none(tmp_path) -> None:
    text = "() => (float[4,3] y) { a = MatMul(c, w)  b = Relu(a)  y = MatMul(b, v) }"
    onnx.save(build(text, c=(4, 5), w=(5, 8), v=(8, 3)), tmp_path / "m.onnx")
    for method in ("obspa", "wanda", "fisher"):
        with pytest.raises(ModelError, match=r"'m\.onnx' has no inputs, .*; give method l1 or l2"):
            spa_cli.prune(tmp_path / "m.onnx", tmp_path / "o.onnx", ratio=0.3, method=method)
    assert spa_cli.prune(tmp_path / "m.onnx", tmp_path / "o.onnx", ratio=0.3, method="l1").out == tmp_path / "o.onnx"
