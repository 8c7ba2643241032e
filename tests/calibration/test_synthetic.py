import numpy as np
import onnx
import pytest

from spa_cli.analysis import analyse_model
from spa_cli.calibration.chunks import Calibration
from spa_cli.calibration.dead_leaves import dead_leaves
from spa_cli.calibration.synthetic import synthetic
from spa_cli.runtime.load import load
from tests.builders import build


def made(model: onnx.ModelProto, samples: int = 32, seed: int = 0) -> tuple[Calibration, dict[str, np.ndarray]]:
    calibration = synthetic(analyse_model(load(model), {}), samples, seed)
    return calibration, {n: np.concatenate([c[n] for c in calibration.chunks]) for n in calibration.chunks[0]}


def test_dead_leaves_are_standardised_and_smooth_like_photographs() -> None:
    images = dead_leaves(24, 3, 32, 32, np.random.default_rng(0))
    assert np.allclose(images.mean((0, 2, 3)), 0, atol=1e-4)
    assert np.allclose(images.std((0, 2, 3)), 1, atol=1e-3)
    neighbours = np.corrcoef(images[..., 1:].ravel(), images[..., :-1].ravel())[0, 1]
    colours = np.corrcoef(images[:, 0].ravel(), images[:, 1].ravel())[0, 1]
    assert 0.8 < neighbours < 0.99
    assert 0.6 < colours < 0.99


def test_large_images_are_enlarged_from_small_ones() -> None:
    images = dead_leaves(2, 1, 300, 200, np.random.default_rng(0))
    assert images.shape == (2, 1, 300, 200)
    assert np.array_equal(images[..., 0:300:3, :], images[..., 1:300:3, :])


IMAGES = """(float[N,3,16,16] x) => (y) {
  a = Conv<pads=[1,1,1,1]>(x, w)  b = Relu(a)  p = GlobalAveragePool(b)  f = Flatten(p)  y = MatMul(f, v)
}"""


def test_images_get_dead_leaves_and_a_classifier_chooses_among_them() -> None:
    calibration, data = made(build(IMAGES, w=(8, 3, 3, 3), v=(8, 5)), 64)
    assert data["x"].shape == (64, 3, 16, 16)
    assert data["x"].dtype == np.float32
    assert not calibration.noise
    assert "dead leaves images, of 256 those with evenly spread predictions" in calibration.about


def test_chosen_samples_are_spread_over_the_predicted_classes() -> None:
    import onnxruntime as ort

    model = build(IMAGES, w=(8, 3, 3, 3), v=(8, 5))
    session = ort.InferenceSession(model.SerializeToString())

    def entropy(images: np.ndarray) -> float:
        share = np.bincount(session.run(None, {"x": images})[0].argmax(1), minlength=5) / len(images)
        return float(-(share[share > 0] * np.log(share[share > 0])).sum())

    rng = np.random.default_rng(0)
    assert entropy(made(model, 64)[1]["x"]) > entropy(dead_leaves(64, 3, 16, 16, rng))


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


def test_tokens_stay_below_the_smallest_table_they_index_directly_or_behind_a_cast() -> None:
    text = """(int32[N,6] ids) => (y) {
      c = Cast<to=7>(ids)  a = Gather(words, c)  b = Gather(kinds, c)  s = Add(a, b)  y = MatMul(s, v) }"""
    _, data = made(build(text, words=(50, 8), kinds=(9, 8), v=(8, 4)), 40)
    assert data["ids"].max() == 8


@pytest.mark.parametrize(
    ("inputs", "words"),
    [("float[N,6]", "normal and uniform noise"), ("float[N,1,512]", "1/f noise"), ("float[N,400]", "1/f noise")],
)
def test_other_floats_are_noise_and_say_so(inputs, words) -> None:
    calibration, data = made(build(f"({inputs} x) => (y) {{ y = Relu(x) }}"), 16)
    assert words in calibration.about
    assert calibration.noise
    assert len(data["x"]) == 16
    assert np.isfinite(data["x"]).all()


def test_a_quantised_input_tells_its_range() -> None:
    text = "(float[N,3,16,16] x) => (y) { q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }"
    calibration, data = made(build(text, s=2.0, z=np.array(10, np.uint8)))
    assert "between -20 and 490" in calibration.about
    assert -20 <= data["x"].min() < data["x"].max() <= 490


def test_a_fixed_batch_gets_chunks_of_its_size() -> None:
    calibration, _ = made(build(IMAGES.replace("[N,", "[2,"), w=(8, 3, 3, 3), v=(8, 5)), 12)
    assert [c["x"].shape for c in calibration.chunks] == [(2, 3, 16, 16)] * 6


def test_the_seed_decides() -> None:
    model = build(IMAGES, w=(8, 3, 3, 3), v=(8, 5))
    first, again, other = (made(model, 16, seed)[1]["x"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
