"""A ruined file is called ruined, and a sound one is not, in the measure that fits."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa_cli
from spa_cli.errors import UsageError
from tests.builders import build
from tests.cli.running import spa
from tests.measures import detectors


def disturbed(model: onnx.ModelProto, names: tuple[str, ...], by: float) -> onnx.ModelProto:
    """The same with noise in some weights, relative to their spread."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    rng = np.random.default_rng(0)
    for tensor in other.graph.initializer:
        if tensor.name in names:
            w = numpy_helper.to_array(tensor)
            noise = by * w.std() * rng.normal(size=w.shape)
            tensor.CopyFrom(numpy_helper.from_array((w + noise).astype(w.dtype), tensor.name))
    return other


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> object:
    file = tmp_path_factory.mktemp("pictures") / "x.npz"
    np.savez(file, x=np.random.default_rng(0).normal(size=(60, 3, 64, 64)).astype(np.float32) * 0.25)
    return file


def test_a_detector_that_lost_its_boxes_is_ruined_however_little_moved(pictures) -> None:
    """Boxes in pixels are most of what is there: scores that are gone move it by little."""
    model = detectors.yolov8()
    lost, other = disturbed(model, (), 0), detectors.yolov8("other")
    for tensor, strange in zip(lost.graph.initializer, other.graph.initializer, strict=True):
        if tensor.name == "wc":
            tensor.CopyFrom(strange)
    found = spa_cli.verify(model, lost, calib=pictures, min_agreement=0.9, max_drift=0.2)
    assert found.drift.relative_l2 < 0.2
    assert not found.drift.resembles
    assert {g.name: g.passed for g in found.gates} == {"max-drift": True, "min-agreement": False}
    gate = found.gates[1]
    assert gate.text.startswith("share of boxes found again 0.")
    assert "boxes found again" in found.drift.warning("60 samples")
    sound = spa_cli.verify(model, disturbed(model, ("wc",), 0.02), calib=pictures, min_agreement=0.9)
    assert sound.passed and sound.drift.resembles


def test_without_boxes_it_is_judged_by_how_far_it_moved(tmp_path) -> None:
    model = build(
        """(float[N,3,64,64] x) => (y) {
          r = Conv<strides=[8,8]>(x, wr)  c = Conv<strides=[8,8]>(x, wc, b)  sc = Sigmoid(c)
          h = Concat<axis=1>(r, sc)  f = Reshape(h, s)  y = Transpose<perm=[0,2,1]>(f) }""",
        wr=(4, 3, 8, 8),
        wc=(4, 3, 8, 8),
        b=np.full(4, -9, np.float32),
        s=[0, 8, -1],
    )
    x = np.random.default_rng(0).normal(size=(9, 3, 64, 64)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    found = spa_cli.verify(model, disturbed(model, ("wr",), 2.0), calib=tmp_path / "x.npz", min_agreement=0.5)
    (one,) = found.drift.outputs
    assert one.text.startswith("the original finds nothing on these samples")
    assert found.drift.agreement is None and found.drift.relative_l2 > 0.7
    assert not found.drift.resembles and not found.passed


def test_prune_calls_it_ruined_and_a_gate_writes_nothing(pictures, tmp_path) -> None:
    model = build(
        """(float[N,3,64,64] x) => (y) {
          a = Conv<strides=[8,8]>(x, wa)  h = Relu(a)
          r = Conv(h, wr)  o = Conv(h, wo)  so = Sigmoid(o)  c = Conv(h, wc)  sc = Sigmoid(c)
          t = Concat<axis=1>(r, so, sc)  f = Reshape(t, s)  y = Transpose<perm=[0,2,1]>(f) }""",
        s=[0, 8, -1],
        wa=3 * np.random.default_rng(0).normal(size=(24, 3, 8, 8)).astype(np.float32) / 14,
        wr=(4, 24, 1, 1),
        wo=np.random.default_rng(1).normal(size=(1, 24, 1, 1)).astype(np.float32),
        wc=np.random.default_rng(2).normal(size=(3, 24, 1, 1)).astype(np.float32),
    )
    file = tmp_path / "m.onnx"
    onnx.save(model, file)
    ruined = spa_cli.prune(file, ratio=0.8, method="l2", round_to=1, calib=pictures)
    assert not ruined.drift.resembles
    assert ruined.drift.outputs[0].kind == "detections"
    mild = spa_cli.prune(file, ratio=0.05, round_to=1, calib=pictures)
    assert mild.drift.resembles and mild.drift.agreement > ruined.drift.agreement
    arguments = ("prune", file, "-o", tmp_path / "s.onnx", "--ratio", 0.8, "--method", "l2", "--round-to", 1)
    ran = spa(*arguments, "--calib", pictures, "--min-agreement", 0.9)
    assert ran.code == 1
    assert "share of boxes found again 0." in ran.err and "not at least --min-agreement 0.9" in ran.err
    assert not (tmp_path / "s.onnx").exists()


def test_the_smallest_model_that_finds_most_boxes_again(pictures, tmp_path) -> None:
    model = build(
        """(float[N,3,64,64] x) => (y) {
          a = Conv<strides=[8,8]>(x, wa)  h = Relu(a)
          r = Conv(h, wr)  c = Conv(h, wc)  sc = Sigmoid(c)
          t = Concat<axis=1>(r, sc)  f = Reshape(t, s)  y = Transpose<perm=[0,2,1]>(f) }""",
        s=[0, 7, -1],
        wa=(16, 3, 8, 8),
        wr=(4, 16, 1, 1),
        wc=(3, 16, 1, 1),
    )
    result = spa_cli.prune(model, min_agreement=0.9, calib=pictures, method="l2", round_to=1, judge_as="detections")
    assert result.drift.agreement >= 0.9
    assert result.after.channels < result.before.channels
    with pytest.raises(spa_cli.errors.UnreachableError, match=r"min_agreement 1 can't be kept: share of boxes found"):
        spa_cli.prune(model, min_agreement=1.0, calib=pictures, method="l2", round_to=1, judge_as="detections")


FIXED = "(float[N,6] x) => (logits) { a = MatMul(x, w1)  b = Relu(a)  logits = MatMul(b, w2) }"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> object:
    """A model, one that is a little different, and samples with labels that the first mostly meets."""
    folder = tmp_path_factory.mktemp("classifier")
    model = build(FIXED, w1=(6, 12), w2=(12, 3))
    x = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    right = (np.maximum(x @ weights["w1"], 0) @ weights["w2"]).argmax(1)
    right[:40] = (right[:40] + 1) % 3
    np.savez(folder / "x.npz", x=x, labels=right)
    np.savez(folder / "bare.npz", x=x)
    onnx.save(model, folder / "a.onnx")
    onnx.save(disturbed(model, ("w1",), 0.3), folder / "b.onnx")
    return folder


def test_accuracy_is_told_where_labels_are(classifier) -> None:
    found = spa_cli.verify(classifier / "a.onnx", classifier / "b.onnx", calib=classifier / "x.npz")
    assert found.accuracy.before.value == pytest.approx(0.9)
    assert found.accuracy.after.low < found.accuracy.after.value < found.accuracy.before.value
    ran = spa("verify", classifier / "a.onnx", classifier / "b.onnx", "--calib", classifier / "x.npz")
    assert f"accuracy {found.accuracy.after.value:.4g} [" in ran.out
    assert "the original's 0.9 (by labels of 'logits')" in " ".join(ran.out.split())
    bare = spa_cli.verify(classifier / "a.onnx", classifier / "b.onnx", calib=classifier / "bare.npz")
    assert bare.accuracy is None


def test_accuracy_is_a_gate(classifier) -> None:
    models = classifier / "a.onnx", classifier / "b.onnx"
    for least, passes in ((0.5, True), (0.95, False)):
        found = spa_cli.verify(*models, calib=classifier / "x.npz", min_accuracy=least)
        (gate,) = found.gates
        assert (gate.name, gate.passed) == ("min-accuracy", passes)
        assert gate.found == found.accuracy.after.value
    with pytest.raises(
        UsageError, match="min_accuracy can't be measured without labels that fit an output; give an ar"
    ):
        spa_cli.verify(*models, calib=classifier / "bare.npz", min_accuracy=0.5)
    with pytest.raises(UsageError, match=r"min_accuracy has to be a positive number, not -1"):
        spa_cli.verify(*models, min_accuracy=-1)


def test_accuracy_by_a_command(classifier) -> None:
    script = classifier / "eval.py"
    script.write_text("import sys\nprint('ok', 0.75 if sys.argv[1].endswith('b.onnx') else 0.8)\n")
    command = f"{sys.executable} {script} {{model}}"
    models = classifier / "a.onnx", classifier / "b.onnx"
    found = spa_cli.verify(*models, evaluate=command, min_accuracy=0.76)
    assert (found.accuracy.before.value, found.accuracy.after.value, found.accuracy.by) == (0.8, 0.75, "evaluate")
    assert found.gates[0].text == "accuracy by evaluate 0.75, not at least min_accuracy 0.76"
    ran = spa("verify", *models, "--eval", command, "--min-accuracy", 0.7, "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["accuracy"]["pruned"] == 0.75


def test_models_in_memory_are_evaluated_in_files_that_go(classifier) -> None:
    models, seen = [onnx.load(classifier / f"{name}.onnx") for name in "ab"], []

    def numbers(file: str) -> float:
        seen.append(Path(file))
        return float(len(onnx.load(file).graph.initializer[0].raw_data))

    found = spa_cli.verify(*models, evaluate=numbers)
    sizes = [float(len(model.graph.initializer[0].raw_data)) for model in models]
    assert [found.accuracy.before.value, found.accuracy.after.value] == sizes
    # the original from memory too, and what is found has the original's beside it
    pruned = spa_cli.prune(models[0], evaluate=lambda file: 0.5 + numbers(file) / 1e6, min_accuracy=0.1, method="l2")
    assert pruned.accuracy.before.value == pytest.approx(0.5 + sizes[0] / 1e6)
    assert not any(file.exists() for file in seen)


def test_prune_reports_the_accuracy_that_was_reached(classifier) -> None:
    result = spa_cli.prune(classifier / "a.onnx", min_accuracy=0.8, test=classifier / "x.npz", method="l2")
    assert result.accuracy.after.value >= 0.8
    assert result.accuracy.before.value == pytest.approx(0.9)
    by_size = spa_cli.prune(classifier / "a.onnx", ratio=0.3, calib=classifier / "x.npz", round_to=1)
    assert by_size.accuracy is not None and by_size.drift.samples == 50


@pytest.mark.parametrize(("count", "about"), [(300, "300 of 400 samples of "), (400, "400 samples of "), (999, "400 ")])
def test_so_many_samples_of_all_that_are_given(classifier, count, about) -> None:
    models = classifier / "a.onnx", classifier / "b.onnx"
    found = spa_cli.verify(*models, calib=classifier / "x.npz", samples=count)
    assert found.samples.startswith(about)
    assert found.drift.samples == min(count, 400)
    if count == 300:
        x = np.load(classifier / "x.npz")
        at = np.arange(300) * 400 // 300
        np.savez(classifier / "part.npz", **{n: x[n][at] for n in x.files})
        part = spa_cli.verify(*models, calib=classifier / "part.npz")
        assert part.drift.relative_l2 == pytest.approx(found.drift.relative_l2)
        assert part.accuracy == found.accuracy


def test_samples_that_are_none(classifier) -> None:
    with pytest.raises(UsageError, match="samples has to be at least 1, not 0"):
        spa_cli.verify(classifier / "a.onnx", classifier / "b.onnx", samples=0)
    few = spa_cli.verify(classifier / "a.onnx", classifier / "b.onnx", samples=5)
    assert few.samples.startswith("5 synthetic samples")


def test_the_lowest_of_several_outputs_counts(tmp_path) -> None:
    """A sound output does not hide one that is ruined."""
    text = """(float[N,8] x) => (first, second) {
      a = MatMul(x, w1)  first = Softmax(a)  b = MatMul(x, w2)  second = Softmax(b) }"""
    model = build(text, w1=(8, 4), w2=(8, 4))
    other = disturbed(model, ("w2",), 5.0)
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32))
    found = spa_cli.verify(model, other, calib=tmp_path / "x.npz", min_agreement=0.9)
    first, second = found.drift.outputs
    assert first.agreement.value == 1
    assert found.drift.agreement == second.agreement.value < 0.7
    assert not found.passed
    assert found.gates[0].text.startswith("arg-max agreement of 'second' 0.")


def test_numbers_that_mean_themselves_have_no_agreement(tmp_path) -> None:
    model = build("(float[N,8] x) => (y) { a = MatMul(x, w)  y = Tanh(a) }", w=(8, 3))
    found = spa_cli.verify(model, model, min_agreement=0.5)
    assert not found.passed
    assert "of numbers that mean themselves max_drift is the gate) can't be measured" in found.gates[0].text
