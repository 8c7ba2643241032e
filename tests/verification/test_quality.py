"""The smallest model that is still good enough, on samples that nothing was fitted to."""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime as ort
import pytest

import spa_cli
from spa_cli.analysis import analyse_model
from spa_cli.calibration.focus import Focus
from spa_cli.calibration.read import read_samples
from spa_cli.calibration.split import from_user, held_back
from spa_cli.errors import UnreachableError, UsageError, VerificationError
from spa_cli.options import Options
from spa_cli.runtime.load import load
from spa_cli.verification.quality import evaluate
from tests.builders import build
from tests.samples import FOLDER, calib_path, model_path
from tests.samples import test_set as labelled_images

RESNET = model_path("digits_resnet")
TEST = FOLDER / "digits_resnet_test.npz"


def _accuracy(model) -> float:
    images, labels = labelled_images("digits_resnet")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return float((session.run(None, {session.get_inputs()[0].name: images})[0].argmax(1) == labels).mean())


def test_max_drift_is_kept_and_used_up() -> None:
    strict, loose = (spa_cli.prune(RESNET, method="l2", max_drift=d, test=TEST) for d in (0.1, 0.6))
    for result, limit in ((strict, 0.1), (loose, 0.6)):
        images, _ = labelled_images("digits_resnet")
        sessions = [ort.InferenceSession(m) for m in (RESNET.read_bytes(), result.model.SerializeToString())]
        a, b = (s.run(None, {s.get_inputs()[0].name: images})[0] for s in sessions)
        assert np.linalg.norm(a - b) / np.linalg.norm(a) <= limit
    assert loose.after.macs < strict.after.macs < strict.before.macs


def test_min_accuracy_by_labels() -> None:
    result = spa_cli.prune(RESNET, method="l2", min_accuracy=0.9, test=TEST)
    assert _accuracy(result.model) >= 0.9
    smaller = spa_cli.prune(RESNET, method="l2", target_macs=result.after.macs / result.before.macs - 0.06)
    assert _accuracy(smaller.model) < 0.95


def test_min_accuracy_by_a_command(tmp_path) -> None:
    script = tmp_path / "eval.py"
    script.write_text(f"import sys, os\nprint('size', os.path.getsize(sys.argv[1]) / {RESNET.stat().st_size})\n")
    result = spa_cli.prune(RESNET, method="l1", min_accuracy=0.6, evaluate=f"{sys.executable} {script} {{model}}")
    assert 0.6 <= result.after.bytes / result.before.bytes <= 0.66


def test_what_can_not_be_kept_is_refused_with_what_was_found() -> None:
    with pytest.raises(
        UnreachableError, match=r"accuracy is 0\.9\d+ \(the original's is 0\.9916\) at \d+% of the original"
    ):
        spa_cli.prune(RESNET, method="l1", min_accuracy=0.9999, test=TEST)
    with pytest.raises(UnreachableError, match=r"max_drift 1e-09 can't be kept: drift is"):
        spa_cli.prune(RESNET, method="l1", max_drift=1e-9)


def test_a_coarse_walk_finds_the_step_that_is_still_good_enough() -> None:
    net = build("(float[1,4] x) => (y) { h = MatMul(x, w1) r = Relu(h) y = MatMul(r, w2) }", w1=(4, 48), w2=(48, 3))
    result = spa_cli.prune(net, method="l1", max_drift=5, round_to=16)
    assert result.after.macs / result.before.macs == 16 / 48


def test_drift_that_can_not_be_measured_is_not_zero() -> None:
    net = build(
        "(float[N,4] x) => (int64[N] y) { h = MatMul(x, w1) r = Relu(h) s = MatMul(r, w2)"
        " y = ArgMax<axis=1, keepdims=0>(s) }",
        w1=(4, 48),
        w2=(48, 3),
    )
    result = spa_cli.prune(net, method="l1", ratio=0.5)
    assert np.isnan(result.drift.relative_l2)
    assert 0 <= result.drift.agreement <= 1
    with pytest.raises(UsageError, match="max_drift can't be measured"):
        spa_cli.prune(net, method="l1", max_drift=0.1)


@pytest.mark.parametrize("command", ["false {model}", "true {model}"])
def test_a_command_that_fails_leaves_nothing_behind(tmp_path, command) -> None:
    with pytest.raises(VerificationError):
        spa_cli.prune(RESNET, tmp_path / "o.onnx", method="l1", min_accuracy=0.5, evaluate=command)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options, says",
    [
        ({"min_accuracy": 0.5, "evaluate": "true"}, "^evaluate names no {model}"),
        ({"max_drift": 0.5, "evaluate": "true {model}"}, "evaluate says nothing to max_drift, which compares outputs"),
        ({"min_agreement": 0.5, "evaluate": "true {model}"}, "evaluate says nothing to min_agreement, which compares"),
        ({"ratio": 0.5, "test": TEST}, "serve max_drift, min_agreement, max_perplexity_ratio and min_accuracy"),
        ({"min_accuracy": 0.5, "test": FOLDER / "missing.npz"}, "there is no calibration file"),
        ({"target_size": 10**9}, "is no less than the"),
    ],
)
def test_what_makes_no_sense_is_refused(options, says) -> None:
    with pytest.raises(UsageError, match=says):
        spa_cli.prune(RESNET, method="l1", **options)


@pytest.mark.parametrize("options", [{}, {"calib": calib_path("digits_resnet")}])
def test_accuracy_needs_labels_or_a_command(options) -> None:
    with pytest.raises(UsageError, match="min_accuracy needs labels"):
        spa_cli.prune(RESNET, method="l1", min_accuracy=0.9, **options)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_qualities_that_mean_nothing(value) -> None:
    with pytest.raises(UsageError, match="has to be a positive number"):
        Options(max_drift=value)


@pytest.mark.parametrize(
    ("options", "judged"), [({"max_drift": 0.1}, 64), ({"ratio": 0.1}, 32), ({"ratio": 0.1, "calib_samples": 200}, 56)]
)
def test_what_is_measured_on_was_not_fitted_to(options, judged) -> None:
    analysis = analyse_model(load(RESNET), {})
    chosen = Options(calib=calib_path("digits_resnet"), **options)
    given = read_samples(chosen.calib, analysis.graph)
    fitted, kept = (split(analysis, given, chosen, Focus()) for split in (from_user, held_back))
    assert fitted.index is not None and kept.index is not None
    used, apart = (set(np.concatenate(c.index).tolist()) for c in (fitted, kept))
    assert not used & apart
    assert used | apart == set(range(256))
    assert (len(apart), kept.samples, fitted.samples) == (judged, judged, 256 - judged)
    assert kept.about.startswith(f"{judged} held-back samples of ")


def test_of_three_samples_none_can_be_spared_and_that_is_said(tmp_path) -> None:
    analysis = analyse_model(load(RESNET), {})
    np.savez(tmp_path / "few.npz", **{n: np.load(calib_path("digits_resnet"))[n][:3] for n in analysis.graph.inputs})
    result = spa_cli.prune(RESNET, ratio=0.2, calib=tmp_path / "few.npz")
    assert result.judged_on == f"3 fitted samples of {tmp_path / 'few.npz'}"
    assert result.plan.about["repair"]["calibration"].startswith("3 samples")


def test_a_command_gives_its_last_number() -> None:
    assert evaluate("echo loss 3 acc 9.5e-1 && true {model}", RESNET) == 0.95
    with pytest.raises(VerificationError, match="exit code 3: gone"):
        evaluate("echo gone >&2; exit 3; {model}", RESNET)
