"""The trained sample models: they are as good as they say, and cutting them is what it says."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.calibration.read import read_samples
from spa_cli.runtime.inputs import batch_of
from spa_cli.runtime.session import open_session
from spa_cli.surgery.remaining import removed_mask
from spa_cli.verification.check import zeroing_differs
from tests import samples
from tests.builders import doubts
from tests.samples import MANIFEST, SAMPLES, calib_path, model_path


def _accuracy(name: str, model: onnx.ModelProto | str) -> float:
    images, labels = samples.test_set(name)
    session = open_session(model, "all")
    (scores,) = session.run([MANIFEST[name]["scores_output"]], {MANIFEST[name]["input_name"]: images})
    return float((scores.argmax(-1) == labels).mean())


@pytest.mark.parametrize("name", SAMPLES)
def test_accuracy_is_that_of_the_manifest(name) -> None:
    assert _accuracy(name, str(model_path(name))) == pytest.approx(MANIFEST[name]["test_accuracy"], abs=5e-5)


@pytest.mark.parametrize("name", SAMPLES)
def test_pruned_by_a_third_it_is_valid_smaller_and_learned_something(name, tmp_path) -> None:
    result = spa_cli.prune(model_path(name), tmp_path / "small.onnx", ratio=0.3, method="l1", calib=calib_path(name))
    assert doubts(result) == []
    assert (tmp_path / "small.onnx").stat().st_size == result.after.bytes < model_path(name).stat().st_size
    onnx.checker.check_model(str(tmp_path / "small.onnx"), full_check=True)
    assert result.after.params < result.before.params
    assert result.after.macs < result.before.macs
    assert _accuracy(name, str(tmp_path / "small.onnx")) > 0.15, "better than guessing one of ten digits"


@pytest.mark.parametrize("name", SAMPLES)
def test_exact_cut_equals_zeroing_on_real_data(name) -> None:
    result = spa_cli.prune(model_path(name), ratio=0.3, method="l1", exact_only=True)
    analysis = result.analysis
    feeds = batch_of(read_samples(calib_path(name), analysis.graph).data, analysis.graph, 32)

    class Done:
        """The finished cut, as zeroing_differs reads one."""

        model, folder = result.model, ""
        states = pairs = ()

        def changed(self, tensor: str) -> bool:
            return tensor in result.plan.kept

        def kept_indices(self, tensor: str) -> dict:
            return result.plan.kept[tensor]

    assert result.plan.kept
    assert zeroing_differs(analysis.graph, Done(), feeds) is None


@pytest.mark.parametrize("name", SAMPLES)
def test_obspa_with_data_loses_less_than_l1(name, tmp_path) -> None:
    accuracy = {}
    for method in ("l1", "obspa"):
        out = tmp_path / f"{method}.onnx"
        spa_cli.prune(model_path(name), out, ratio=0.4, method=method, calib=calib_path(name))
        accuracy[method] = _accuracy(name, str(out))
    assert accuracy["obspa"] >= accuracy["l1"]
    assert accuracy["obspa"] >= 0.6


@pytest.mark.parametrize("name", SAMPLES)
def test_dead_channels_can_go_without_a_trace(name) -> None:
    """Zero a tenth of the exact channels, prune as many: l1 finds them and no output moves."""
    first = spa_cli.prune(model_path(name), ratio=0.1, method="random", exact_only=True, seed=3)
    model = onnx.load(model_path(name))
    parameters = {t.name: t for t in model.graph.initializer}
    parameters |= {n.output[0]: a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute}
    for tensor, kept in first.plan.kept.items():
        values = np.array(onnx.numpy_helper.to_array(parameters[tensor]))
        values[removed_mask(values.shape, kept)] = 0
        parameters[tensor].CopyFrom(onnx.numpy_helper.from_array(values, parameters[tensor].name))
    second = spa_cli.prune(model, ratio=0.1, method="l1", exact_only=True)
    assert second.plan.kept == first.plan.kept
    assert second.drift.relative_l2 < 1e-5


def test_every_framework_of_the_manifest_is_there() -> None:
    assert len({m["framework"].split()[0] for m in MANIFEST.values()}) >= 4
    assert all(np.isclose(m["test_images"], 597) for m in MANIFEST.values())
