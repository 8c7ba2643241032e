"""What a result is judged on: every sample that was given, and none that anything was fitted to."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

import spa_cli
from spa_cli.analysis import analyse_model
from spa_cli.calibration.focus import Focus
from spa_cli.calibration.samples import Samples
from spa_cli.calibration.split import from_user, held_back
from spa_cli.options import Options
from spa_cli.runtime.load import load
from spa_cli.text import plural
from tests.builders import build
from tests.cli.running import spa
from tests.samples import calib_path, model_path

RESNET, CALIB = model_path("digits_resnet"), calib_path("digits_resnet")
FIXED = "(float[2,6] x) => (float[2,3] y) { a = MatMul(x, w1)  b = Relu(a)  y = MatMul(b, w2) }"
WEIGHTS = {"w1": (6, 12), "w2": (12, 3)}


def agreement(a: onnx.ModelProto, b: onnx.ModelProto, x: np.ndarray) -> float:
    pairs = []
    for model in (a, b):
        session = ort.InferenceSession(model.SerializeToString())
        pairs.append([session.run(None, {"x": x[[i, i]]})[0][0].argmax() for i in range(len(x))])
    return float(np.mean(np.equal(*pairs)))


def broken(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model but for what it makes of negative inputs."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    for tensor in other.graph.initializer:
        if tensor.name == "w1":
            w = np.array(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(w[:, ::-1] * 3, "w1"))
    return other


@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_verify_judges_every_sample_of_a_fixed_batch(count, tmp_path) -> None:
    model = build(FIXED, **WEIGHTS)
    other = broken(model)
    x = np.random.default_rng(1).normal(size=(count, 6)).astype(np.float32)
    # the first run shows nothing
    x[: min(2, count - 1)] = 0
    for name, each in (("a", model), ("b", other)):
        onnx.save(each, tmp_path / f"{name}.onnx")
    np.savez(tmp_path / "x.npz", x=x)
    found = spa_cli.verify(model, other, calib=tmp_path / "x.npz", min_agreement=0.9)
    assert found.drift.agreement == pytest.approx(agreement(model, other, x))
    assert found.samples == f"{plural(count, 'sample')} of {tmp_path / 'x.npz'}"
    sound = agreement(model, other, x) >= 0.9
    assert found.passed is sound
    assert not sound or count < 9
    files = [tmp_path / f for f in ("a.onnx", "b.onnx")]
    ran = spa("verify", *files, "--calib", tmp_path / "x.npz", "--min-agreement", 0.9)
    assert ran.code == (0 if sound else 1)


def test_verify_takes_more_than_one_run_of_a_free_batch(tmp_path) -> None:
    model = build(FIXED.replace("[2,", "[N,"), **WEIGHTS)
    x = np.random.default_rng(1).normal(size=(700, 6)).astype(np.float32)
    x[:300] = 0
    np.savez(tmp_path / "x.npz", x=x)
    found = spa_cli.verify(model, broken(model), calib=tmp_path / "x.npz")
    assert found.drift.agreement == pytest.approx(agreement(model, broken(model), x))
    assert found.samples.startswith("700 samples")


def test_verify_says_first_what_ruins_a_network_even_without_a_gate(tmp_path) -> None:
    spa_cli.prune(RESNET, tmp_path / "small.onnx", target_macs=0.15, method="random")
    ran = spa("verify", RESNET, tmp_path / "small.onnx", "--calib", CALIB)
    assert ran.code == 0
    assert ran.out.startswith("the outputs no longer resemble the original's (drift ")
    report = json.loads(spa("verify", RESNET, tmp_path / "small.onnx", "--calib", CALIB, "--json").out)
    assert report["warning"].startswith("the outputs no longer resemble")
    assert report["drift"]["resembles"] is False
    same = json.loads(spa("verify", RESNET, RESNET, "--json").out)
    assert (same["warning"], same["drift"]["resembles"]) == ("", True)


def test_a_ruined_network_leads_the_summary_and_a_sound_one_does_not(tmp_path) -> None:
    ruined = spa("prune", RESNET, "--target-macs", 0.15, "--method", "random", "-o", tmp_path / "a.onnx")
    assert (ruined.code, ruined.err) == (0, "")
    assert ruined.out.startswith("the outputs no longer resemble the original's (drift ")
    report = json.loads(
        spa("prune", RESNET, "--target-macs", 0.15, "--method", "random", "-o", tmp_path / "b.onnx", "--json").out
    )
    assert report["drift"]["resembles"] is False
    assert report["warnings"][0].startswith("the outputs no longer resemble")
    sound = spa("prune", RESNET, "--target-macs", 0.6, "--calib", CALIB, "-o", tmp_path / "c.onnx")
    assert sound.out.startswith("pruned digits_resnet.onnx")


def test_a_table_of_many_marks_the_ruined_one(tmp_path) -> None:
    mlp = model_path("digits_mlp")
    ran = spa("prune", RESNET, mlp, "--target-macs", 0.2, "--method", "random", "-o", tmp_path / "out")
    assert "ruined" in ran.out
    # an interval of each figure, and what they are of
    (row,) = [line for line in ran.out.splitlines() if "digits_mlp" in line and "|" in line]
    assert len(re.findall(r"\[[\d.]+, [\d.]+\]", row)) == 2
    said = " ".join(ran.out.split())
    for name, kind in (("digits_resnet", "image: dead leaves"), ("digits_mlp", "pixels: normal noise")):
        assert f"{name}.onnx: drift (relative L2) and agreement are of 64 synthetic samples ({kind}" in said


def test_the_drift_of_a_pruning_is_of_samples_that_nothing_was_fitted_to(tmp_path) -> None:
    """Of 256 given samples 32 are held back: what is said of them is what verify finds on them."""
    result = spa_cli.prune(RESNET, target_macs=0.5, calib=CALIB)
    assert (result.samples, result.judged_on) == (32, f"32 held-back samples of {CALIB}")
    held = (np.arange(32) * 2 + 1) * 256 // 64
    data = np.load(CALIB)
    np.savez(tmp_path / "held.npz", **{n: data[n][held] for n in data.files})
    again = spa_cli.verify(RESNET, result.model, calib=tmp_path / "held.npz")
    assert result.drift.relative_l2 == pytest.approx(again.drift.relative_l2, rel=1e-4)
    assert result.drift.agreement == again.drift.agreement
    ran = spa("prune", RESNET, "--target-macs", 0.5, "--calib", CALIB, "-o", tmp_path / "s.onnx")
    assert "on 32 held-back samples of" in ran.out


@pytest.mark.parametrize("copied", [lambda x: np.repeat(x, 4, 0), lambda x: np.tile(x, (4, 1))], ids=["each", "all"])
def test_a_copy_of_a_sample_is_not_held_back_from_it(copied) -> None:
    model = build(FIXED.replace("2,6", "N,6").replace("2,3", "N,3"), **WEIGHTS)
    analysis, options = analyse_model(load(model), {}), Options(ratio=0.3)
    given = Samples({"x": copied(np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32))}, "it")
    fitted, judges = (
        {row.tobytes() for chunk in f(analysis, given, options, Focus()).chunks for row in chunk["x"]}
        for f in (from_user, held_back)
    )
    assert fitted and judges and not fitted & judges
    assert held_back(analysis, given, options, Focus()).samples == len(judges)


def test_where_nearly_all_are_copies_it_is_said() -> None:
    model = build(FIXED.replace("2,6", "N,6").replace("2,3", "N,3"), **WEIGHTS)
    analysis, options = analyse_model(load(model), {}), Options(ratio=0.3)
    given = Samples({"x": np.tile(np.eye(6, dtype=np.float32)[:5], (40, 1))}, "it")
    assert from_user(analysis, given, options, Focus()).warning == (
        "175 of 175 fitted samples of it are copies of those held back, and drift on these says less of others: give "
        "different ones with --calib"
    )


def test_without_data_it_is_of_samples_made_anew() -> None:
    fitted = spa_cli.prune(RESNET, target_macs=0.6, calib_samples=32)
    sliced = spa_cli.prune(RESNET, target_macs=0.6, method="l1")
    assert fitted.judged_on == sliced.judged_on
    assert fitted.judged_on.startswith("64 synthetic samples (")


@pytest.mark.parametrize(("numbers", "count"), [(90, 10), (9, 8), (9e6, 64)])
@pytest.mark.parametrize("batch", ["N", "2"])
def test_samples_that_are_made_up_are_fewer_where_they_are_large(numbers, count, batch, monkeypatch) -> None:
    """Six numbers go in and three come out for each."""
    monkeypatch.setattr("spa_cli.calibration.judging._NUMBERS", numbers)
    result = spa_cli.prune(build(FIXED.replace("[2,", f"[{batch},"), **WEIGHTS), ratio=0.3, method="l1")
    assert result.judged_on.startswith(f"{count} synthetic samples (")


@pytest.mark.parametrize("method", ["l1", "obspa"])
def test_the_shape_of_the_samples_is_that_of_the_model(method, tmp_path) -> None:
    """Height and width are free: MACs, and with them every budget, are those of what was given."""
    model = build(
        """(float[N,3,H,W] x) => (y) {
          a = Conv<pads=[1,1,1,1]>(x, wa)  b = Relu(a)  c = Conv(b, wb)  y = GlobalAveragePool(c) }""",
        wa=(16, 3, 3, 3),
        wb=(8, 16, 1, 1),
    )
    x = np.random.default_rng(0).normal(size=(24, 3, 12, 40)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    result = spa_cli.prune(model, target_macs=0.75, calib=tmp_path / "x.npz", method=method)
    assert result.analysis.input_shapes == {"x": (1, 3, 12, 40)}
    assert result.before.macs == 12 * 40 * (16 * 27 + 8 * 16)
    assert result.plan.about["input_shapes"] == {"x": [1, 3, 12, 40]}
    report = spa_cli.verify(model, result.model, calib=tmp_path / "x.npz")
    assert report.macs == (result.before.macs, result.after.macs)
    given = spa_cli.prune(model, ratio=0.3, method="l1", input_shape={"x": (1, 3, 8, 8)})
    assert given.before.macs == 8 * 8 * (16 * 27 + 8 * 16)


def test_axes_of_one_name_have_one_size() -> None:
    model = build(
        """(int64[B,T] ids, float[B,T] mask, float[T,4] table) => (y) {
          e = Gather(wt, ids)  m = Unsqueeze(mask, axes)  h = Mul(e, m)  a = Add(h, table)  y = MatMul(a, w) }""",
        wt=(20, 4),
        axes=[2],
        w=(4, 3),
    )
    analysis = analyse_model(load(model), {}, {"ids": (9,), "mask": (9,), "table": (4,)})
    assert analysis.input_shapes == {"ids": (1, 9), "mask": (1, 9), "table": (9, 4)}


def test_a_fixed_batch_beside_a_number_that_samples_share(tmp_path) -> None:
    """Runs are of one number each, filled up, and every sample counts once."""
    model = build(
        """(float[4,6] x, float q) => (float[4,3] y) {
          a = MatMul(x, w1)  b = Relu(a)  c = MatMul(b, w2)  y = Mul(c, q) }""",
        **WEIGHTS,
    )
    x = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
    q = np.array([1, 2, 1, 2, 1, 1, 1], np.float32)
    np.savez(tmp_path / "x.npz", x=x, q=q)
    found = spa_cli.verify(model, broken(model), calib=tmp_path / "x.npz")
    assert found.samples.startswith("7 samples of ")
    pairs = []
    for each in (model, broken(model)):
        session = ort.InferenceSession(each.SerializeToString())
        feeds = [{"x": np.tile(a, (4, 1)), "q": np.asarray(b)} for a, b in zip(x, q, strict=True)]
        pairs.append(np.stack([session.run(None, own)[0][0] for own in feeds]))
    assert found.drift.agreement == pytest.approx(np.mean(pairs[0].argmax(1) == pairs[1].argmax(1)))
    assert found.drift.relative_l2 == pytest.approx(
        np.linalg.norm(pairs[0] - pairs[1]) / np.linalg.norm(pairs[0]), rel=1e-4
    )


def test_samples_that_fill_a_batch_up_are_not_counted(tmp_path) -> None:
    model = build(FIXED.replace("[2,", "[4,"), w1=(6, 24), w2=(24, 3))
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32))
    result = spa_cli.prune(model, ratio=0.3, calib=tmp_path / "x.npz")
    assert result.samples == 6
    assert result.judged_on.startswith("6 held-back samples of ")
    assert result.plan.about["repair"]["calibration"].startswith("44 samples of ")


def test_what_test_measures_on_is_not_taken_from_what_is_fitted(tmp_path) -> None:
    result = spa_cli.prune(RESNET, max_drift=0.5, calib=CALIB, test=CALIB.with_name("digits_resnet_test.npz"))
    assert result.plan.about["repair"]["calibration"].startswith("256 samples of ")
    assert result.judged_on.startswith("597 samples of ")


def test_samples_that_are_to_count_more_are_fitted_to() -> None:
    """The eighth of every thirty-two is held back, unless the user points at it."""
    result = spa_cli.prune(RESNET, ratio=0.3, calib=CALIB, focus="samples=4:5")
    assert result.judged_on.startswith("31 held-back samples of ")


@pytest.mark.parametrize("method", ["wanda", "obspa"])
def test_whoever_looks_at_fewer_samples_says_so(method, monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.calibration.chunks._TOTAL_MACS", 30 * 1.27e6)
    result = spa_cli.prune(RESNET, ratio=0.3, calib=CALIB, method=method)
    assert len([w for w in result.warnings if "of 224 samples of" in w and "are used" in w]) == 1


def test_one_sample_that_does_not_run_is_named_and_nobody_elses_fault(tmp_path) -> None:
    model = build("(int64[N] ids) => (y) { e = Gather(wt, ids)  y = MatMul(e, w) }", wt=(20, 8), w=(8, 3))
    ids = np.arange(150) % 20
    ids[140] = 99
    np.savez(tmp_path / "ids.npz", ids=ids)
    onnx.save(model, tmp_path / "m.onnx")
    ran = spa("verify", tmp_path / "m.onnx", tmp_path / "m.onnx", "--calib", tmp_path / "ids.npz")
    assert ran.code == 2
    assert "the original does not run on one of the samples (" in ran.err
    with pytest.raises(spa_cli.errors.UsageError, match="the model does not run on one of the calibration samples"):
        spa_cli.prune(model, ratio=0.3, calib=tmp_path / "ids.npz")


def test_samples_to_measure_on_that_do_not_run_are_refused(tmp_path) -> None:
    model = build("(int64[N] ids) => (y) { e = Gather(wt, ids)  y = MatMul(e, w) }", wt=(20, 8), w=(8, 3))
    np.savez(tmp_path / "ids.npz", ids=np.array([1, 2, 99, 3]))
    says = r"'model' does not run on the samples of test \(.*\); give samples it takes"
    with pytest.raises(spa_cli.errors.UsageError, match=says):
        spa_cli.prune(model, max_drift=0.5, test=tmp_path / "ids.npz")


def test_of_weights_in_files_of_their_own_all_judges_are_seen(tmp_path) -> None:
    model = build(FIXED.replace("[2,", "[N,"), w1=(6, 256), w2=(256, 3))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32))
    result = spa_cli.prune(tmp_path / "m.onnx", tmp_path / "s.onnx", ratio=0.4, calib=tmp_path / "x.npz")
    held = (np.arange(25) * 2 + 1) * 200 // 50
    np.savez(tmp_path / "held.npz", x=np.load(tmp_path / "x.npz")["x"][held])
    again = spa_cli.verify(tmp_path / "m.onnx", tmp_path / "s.onnx", calib=tmp_path / "held.npz")
    assert result.samples == 25
    assert result.drift.relative_l2 == pytest.approx(again.drift.relative_l2, rel=1e-4)
    assert spa_cli.prune(tmp_path / "m.onnx", tmp_path / "t.onnx", ratio=0.4).samples == 64
