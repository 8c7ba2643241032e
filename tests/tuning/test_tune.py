"""``spa tune`` and ``prune --tune`` on trained networks: nearer to the original, or untouched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.errors import ModelError, UsageError, VerificationError
from tests.builders import build
from tests.cli.running import refused, spa
from tests.samples import calib_path, model_path

RESNET, CALIB = model_path("digits_resnet"), calib_path("digits_resnet")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """Half of it, its weights as they were."""
    out = tmp_path_factory.mktemp("tune") / "small.onnx"
    spa_cli.prune(RESNET, out, target_macs=0.5, method="l1", round_to=1)
    return out


def test_it_comes_nearer_and_nothing_else_changes(small, tmp_path) -> None:
    out = tmp_path / "tuned.onnx"
    points = []
    result = spa_cli.tune(small, RESNET, out, calib=CALIB, epochs=4, lr=0.01, step_done=points.append)
    before, after = result.drift
    assert after.relative_l2 < 0.7 * before.relative_l2
    assert [p.step for p in points] == sorted({p.step for p in points}) and len(points) > 3
    one, other = onnx.load(small), onnx.load(out)
    changed = [a.name for a, b in zip(one.graph.initializer, other.graph.initializer, strict=True) if a != b]
    assert len(changed) == result.tuned.trained > 5
    for side in (one, other):
        for tensor in side.graph.initializer:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    assert one.graph == other.graph
    assert spa_cli.verify(RESNET, out, calib=CALIB).drift.relative_l2 < 0.7 * before.relative_l2


def test_the_same_seed_gives_the_same_file(small, tmp_path) -> None:
    files = [tmp_path / f"{i}.onnx" for i in range(2)]
    for file in files:
        spa_cli.tune(small, RESNET, file, calib=CALIB, epochs=1)
    assert files[0].read_bytes() == files[1].read_bytes() != small.read_bytes()


def test_too_high_a_rate_leaves_the_file_as_it_was(small, tmp_path) -> None:
    """Weights that are sent off overflow, of which nothing is told but that no step did better."""
    out = tmp_path / "tuned.onnx"
    result = spa_cli.tune(small, RESNET, out, calib=CALIB, epochs=30, lr=0.99)
    assert result.tuned.training.weights is None
    assert onnx.load(out).graph == onnx.load(small).graph


def test_a_model_that_only_counts_is_refused(tmp_path) -> None:
    model = build(
        """(float[N,3,6,6] x) => (int64 k) {
          a = Conv(x, w)  b = Relu(a)  c = Conv(b, v)  s = ReduceSum<keepdims=0>(c)  k = Cast<to=7>(s)
        }""",
        w=(8, 3, 3, 3), v=(2, 8, 3, 3),
    )  # fmt: skip
    small = spa_cli.prune(model, ratio=0.3, method="l1").model
    with pytest.raises(
        ModelError, match="can't be trained: no output, and nothing that one is chosen by, is a number that"
    ):
        spa_cli.tune(small, model, tmp_path / "t.onnx", epochs=1)
    assert not (tmp_path / "t.onnx").exists()


def test_where_nothing_is_lost_the_weights_stay(tmp_path) -> None:
    ran = spa("tune", RESNET, "--teacher", RESNET, "-o", tmp_path / "t.onnx", "--calib", CALIB, "--epochs", 1)
    assert ran.code == 0
    assert "nothing that was tried was better on held-back samples: the weights are as they were" in ran.err
    assert onnx.load(tmp_path / "t.onnx").graph == onnx.load(RESNET).graph


def test_only_what_is_named_is_trained(small) -> None:
    (name, *_) = [t.name for t in onnx.load(small).graph.initializer if len(t.dims) == 4]
    result = spa_cli.tune(small, RESNET, calib=CALIB, epochs=1, lr=0.003, trainable=(name,))
    pairs = zip(onnx.load(small).graph.initializer, result.model.graph.initializer, strict=True)
    assert {a.name for a, b in pairs if a != b} == {name}


def test_without_data_it_is_trained_on_synthetic_samples(small) -> None:
    result = spa_cli.tune(small, RESNET, epochs=1, samples=64, lr=0.003)
    assert "synthetic" in result.tuned.samples
    assert result.drift[1].relative_l2 <= result.drift[0].relative_l2


def test_pruning_may_end_with_it(tmp_path) -> None:
    out, page = tmp_path / "s.onnx", tmp_path / "s.html"
    asked = ("--target-macs", 0.5, "--method", "l1", "--calib", CALIB, "--round-to", 1)
    report = json.loads(spa("prune", RESNET, "-o", out, *asked, "--tune", "4s", "--report", page, "--json").out)
    plain = json.loads(spa("prune", RESNET, "-o", tmp_path / "p.onnx", *asked, "--json").out)
    assert report["tuned"]["improved"] and report["tuned"]["steps"] > 10
    assert report["drift"]["relative_l2"] < plain["drift"]["relative_l2"]
    assert plain["tuned"] is None
    shapes = [[(t.name, tuple(t.dims)) for t in onnx.load(f).graph.initializer] for f in (out, tmp_path / "p.onnx")]
    assert shapes[0] == shapes[1]
    assert page.read_text().count('id="figure-training"') == 1


def test_a_page_shows_how_it_went(small, tmp_path) -> None:
    out, page = tmp_path / "t.onnx", tmp_path / "t.html"
    asked = ("--teacher", RESNET, "-o", out, "--calib", CALIB, "--epochs", 2, "--lr", 0.01, "--report", page)
    told = json.loads(spa("tune", small, *asked, "--json").out)
    text = page.read_text()
    assert text.count('id="figure-training"') == 1
    assert f'<data value="{told["tuned"]["loss"]}">' in text
    for point in told["tuned"]["curve"]:
        assert f'<data value="{point["loss"]}">' in text
    out.unlink()
    assert "exists" in refused(2, "tune", small, *asked)
    assert not out.exists()


def test_by_the_plan_what_is_left_of_sums_inside_is_matched_too(tmp_path) -> None:
    out, plan = tmp_path / "s.onnx", tmp_path / "plan.json"
    asked = {"ratio": 0.4, "method": "l1", "round_to": 1, "calib": CALIB}
    spa_cli.prune(RESNET, out, plan_out=plan, **asked)
    how = {"calib": CALIB, "epochs": 1, "lr": 0.003}
    plain, planned = (spa_cli.tune(out, RESNET, plan=p, **how) for p in (None, plan))
    sums = [sum(term.inner for term in found.tuned.terms) for found in (plain, planned)]
    assert sums[0] < sums[1] == 5
    assert planned.tuned.training.weights is not None
    other = tmp_path / "other.json"
    spa_cli.prune(RESNET, plan_out=other, **asked | {"ratio": 0.6})
    with pytest.raises(VerificationError, match="give the plan that made it"):
        spa_cli.tune(out, RESNET, plan=other, **how)


def test_what_is_no_pruned_version_of_the_teacher(tmp_path) -> None:
    with pytest.raises(VerificationError, match=r"is no pruned 'digits_resnet.onnx': .*; give the original as teach"):
        spa_cli.tune(model_path("digits_lstm"), RESNET, calib=CALIB)
    assert "names no weight" in refused(
        2, "tune", RESNET, "--teacher", RESNET, "-o", tmp_path / "t.onnx", "--calib", CALIB, "--trainable", "none*"
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"minutes": 1, "epochs": 1}, "minutes and epochs both say how long to train; give one of them"),
        ({"minutes": 0}, "minutes has to be a positive number"),
        ({"epochs": 0}, "epochs has to be at least 1"),
        ({"lr": "fast"}, "lr 'fast' is no number; write one like 0.003, or auto"),
        ({"lr": 2.0}, "lr has to lie between 0 and 1"),
        ({"augment": "turn"}, "augment 'turn' is nothing that is done; use crop, flip, mix, none or auto"),
    ],
)
def test_options_out_of_range(options, says) -> None:
    with pytest.raises(UsageError, match=says):
        spa_cli.tune(RESNET, RESNET, **options)


def test_what_pruning_does_not_train(tmp_path) -> None:
    asked = {"calib": CALIB, "tune": "soon"}
    with pytest.raises(UsageError, match="tune 'soon' is no duration; write one like 90s, 5m or 1h"):
        spa_cli.prune(RESNET, target_macs=0.5, **asked)
    with pytest.raises(UsageError, match="tune trains one cut, a sweep makes many; leave it out, and tune the one"):
        spa_cli.sweep(RESNET, tmp_path / "s", points=(0.5,), calib=CALIB, tune="5s")


def test_weights_behind_an_operator_without_a_gradient() -> None:
    text = "(float[N,4,6] x) => (y) { h = MatMul(x, wa)  y = Shrink<lambd=0.1>(h) }"
    teacher, small = build(text, wa=(6, 8)), build(text, wa=np.zeros((6, 8), np.float32))
    with pytest.raises(ModelError, match=r"no weight of 'model' can be trained: .*Shrink.*; use the file as it is"):
        spa_cli.tune(small, teacher, epochs=1)


def test_masks_tables_and_numbers_of_the_architecture_are_not_trained() -> None:
    text = """(float[N,16,8] x) => (y) {
      q = MatMul(x, wq)  a = Mul(q, table)  e = Add(a, eps)  f = Mul(e, frequencies)
      t = Transpose<perm=[0,2,1]>(f)  s = MatMul(f, t)  m = Add(s, mask)  p = Softmax(m)  y = MatMul(p, f)
    }"""
    angles = np.arange(16)[:, None] / 100 ** (np.arange(8) / 8)
    constants = {
        "table": np.cos(angles).astype(np.float32),
        "eps": np.full(1, 1e-5, np.float32),
        "frequencies": (100 ** (np.arange(8) / 8)).astype(np.float32),
        "mask": np.triu(np.full((16, 16), -1e9), 1).astype(np.float32),
    }
    teacher, small = (build(text, wq=np.random.default_rng(s).normal(size=(8, 8)), **constants) for s in range(2))
    for model in (teacher, small):
        (weight,) = [t for t in model.graph.initializer if t.name == "wq"]
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight).astype(np.float32), "wq"))
    x = np.random.default_rng(0).normal(size=(32, 16, 8)).astype(np.float32)
    result = spa_cli.tune(small, teacher, calib=x, epochs=2, lr=0.01)
    assert result.tuned.trained == 1
    pairs = zip(small.graph.initializer, result.model.graph.initializer, strict=True)
    assert {a.name for a, b in pairs if a != b} == {"wq"}
    with pytest.raises(UsageError, match="names no weight"):
        spa_cli.tune(small, teacher, calib=x, epochs=1, trainable="mask")
