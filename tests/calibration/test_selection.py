"""Which of many samples stay."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from spa_cli.analysis import Analysis, analyse_model
from spa_cli.calibration.kinds import Input
from spa_cli.calibration.rules import kind_of
from spa_cli.calibration.selection import class_scores, evenly_spread, like_training, stored
from spa_cli.calibration.store import Store
from spa_cli.runtime.load import load
from tests.builders import build

CLASSES = "a = Conv(x, w)  b = Relu(a)  p = GlobalAveragePool(b)  f = Flatten(p)  y = MatMul(f, v)"


def pool(model: onnx.ModelProto, count: int = 96) -> tuple[Analysis, Store]:
    analysis = analyse_model(load(model), {})
    kind = kind_of(Input(analysis.graph, "x", (1, 9, 9)))
    return analysis, Store.of(analysis, {"x": kind}, count, np.random.default_rng(0))


@pytest.mark.parametrize("batch", ["N", "1", "4"])
def test_predictions_are_spread_evenly_also_where_the_batch_is_fixed(batch) -> None:
    model = build(f"(float[{batch},1,9,9] x) => (y) {{ d = Div(x, c)  {CLASSES.replace('x,', 'd,')} }}", c=255.0,
                  w=(8, 1, 3, 3), v=(8, 5))  # fmt: skip
    analysis, samples = pool(model)
    kept = evenly_spread(analysis, samples, class_scores(analysis), 24)
    assert len({*kept.tolist()}) == 24

    session = ort.InferenceSession(model.SerializeToString())
    images, size = samples.drawn["x"].astype(np.float32), 1 if batch == "N" else int(batch)
    predicted = np.concatenate(
        [session.run(None, {"x": images[i : i + size]})[0].argmax(1) for i in range(0, 96, size)]
    )
    there, chosen = (np.bincount(p, minlength=5) for p in (predicted, predicted[kept]))
    assert (chosen <= there).all()
    # no class has fewer than another that could have had more
    assert chosen.max() - min(c for c, t in zip(chosen, there, strict=True) if c < t) <= 1


def test_samples_are_those_whose_statistics_a_batch_norm_stores() -> None:
    """Dark ones, for a BatchNorm that saw dark pictures."""
    norm = "n = BatchNormalization(a, g, g, m, v)  y = Relu(n)"
    model = build(
        f"(uint8[N,1,9,9] x) => (y) {{ k = Cast<to=1>(x)  a = Conv(k, w)  {norm} }}",
        w=np.ones((1, 1, 1, 1), np.float32), g=np.ones(1, np.float32), m=np.float32([60]), v=np.float32([900]),
    )  # fmt: skip
    analysis, samples = pool(model)
    kept = samples.only(like_training(analysis, samples, stored(analysis), 24)).drawn["x"].astype(float)
    everything = samples.drawn["x"].astype(float)
    assert len(kept) == 24
    assert abs(kept.mean() - 60) < 0.3 * abs(everything.mean() - 60)
    assert abs(kept.std() - 30) < abs(everything.std() - 30)


def test_scores_are_one_output_of_three_classes_or_more() -> None:
    def scores(text: str, **arrays: object) -> str:
        return class_scores(analyse_model(load(build(text, **arrays)), {}))

    assert scores("(float[N,4] x) => (y) { y = MatMul(x, w) }", w=(4, 3)) == "y"
    assert scores("(float[2,4] x) => (y) { y = MatMul(x, w) }", w=(4, 3)) == "y"
    assert scores("(float[N,4] x) => (y) { y = MatMul(x, w) }", w=(4, 2)) == ""
    assert scores("(float[3,4] x, float[5,4] z) => (y) { a = Concat<axis=0>(x, z)  y = MatMul(a, w) }", w=(4, 3)) == ""
    assert scores("(float[N,4] x) => (y, z) { y = MatMul(x, w)  z = MatMul(x, w) }", w=(4, 3)) == ""


def test_scores_that_are_not_of_the_shape_that_was_worked_out() -> None:
    """At one step an axis is squeezed away that stays at two."""
    model = build("(float[N,1,9,9] x) => (y) { r = Reshape(x, s)  q = Squeeze(r)  y = MatMul(q, v) }",
                  s=[-1, 2, 81], v=(81, 5))  # fmt: skip
    analysis, samples = pool(model)
    assert evenly_spread(analysis, samples, "y", 24).tolist() == [*range(24)]


@pytest.mark.parametrize(
    ("body", "nearer"),
    [("f = Reshape(c, s)", True), ("f = Concat<axis=0>(c, p)", False)],
    ids=["windows", "a row that is nobody's"],
)
def test_norms_over_other_rows_than_samples(body, nearer) -> None:
    """Windows of a sample lie one after the other; where rows can't be told apart, they prefer no sample."""
    used = {"s": [-1, 1, 3, 3]} if nearer else {"p": (1, 1, 9, 9)}
    model = build(
        f"(uint8[N,1,9,9] x) => (y) {{ k = Cast<to=1>(x)  c = Conv(k, w)  {body}  "
        "n = BatchNormalization(f, g, g, m, v)  y = Relu(n) }",
        w=np.ones((1, 1, 1, 1), np.float32), g=np.ones(1, np.float32), m=np.float32([60]), v=np.float32([900]), **used,
    )  # fmt: skip
    analysis, samples = pool(model)
    kept = like_training(analysis, samples, stored(analysis), 24)
    assert len({*kept.tolist()}) == 24
    means = samples.drawn["x"].reshape(96, -1).astype(float).mean(1)
    assert (abs(means[kept].mean() - 60) < 0.3 * abs(means.mean() - 60)) == nearer
