"""onnxsim, onnxslim, onnxruntime's graph optimisation and quantisation, before spa and after it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import onnx
import pytest

import spa_cli
from benchmarks.ecosystem_tools import STEPS, spa
from spa_cli.runtime.session import open_session
from tests import samples
from tests.extras import needs
from tests.samples import MANIFEST, calib_path, model_path

# every tool on two kinds of network; all pairs are in bench_ecosystem.py
PAIRS = [
    *(("digits_resnet", tool) for tool in ("onnxsim", "onnxslim", "ORT basic", "static", "dynamic")),
    *(("digits_vit", tool) for tool in ("onnxsim", "ORT extended", "static")),
    *(("digits_lstm", tool) for tool in ("onnxslim", "ORT basic", "ORT extended", "dynamic")),
]
# accuracy that may be lost at 0.7 of the MACs, quantised or not: 0.022 is the most that was measured
MARGIN, CALIB = 0.03, 64


def _accuracy(name: str, path: Path) -> float:
    images, labels = samples.test_set(name)
    (scores,) = open_session(str(path), "all").run(
        [MANIFEST[name]["scores_output"]], {MANIFEST[name]["input_name"]: images}
    )
    return float((scores.argmax(-1) == labels).mean())


@cache
def _small(name: str, folder: Path) -> Path:
    """The sample after spa: made once for all tools."""
    made = folder / f"{name}.small.onnx"
    spa(model_path(name), made, calib_path(name), limit=CALIB)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ecosystem")


def _run(tool: str, source: Path, target: Path, name: str) -> Path:
    if tool in ("onnxsim", "onnxslim"):
        needs(tool)
    STEPS[tool](source, target, calib_path(name))
    return target


def _params(path: Path) -> int:
    return spa_cli.inspect(path).costs.params


def _integers(path: Path) -> set[str]:
    """Initializers of 8 bits."""
    kinds = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    return {t.name for t in onnx.load(path).graph.initializer if t.data_type in kinds}


@pytest.mark.parametrize(("name", "tool"), PAIRS)
def test_before_spa(name, tool, tmp_path) -> None:
    first = _run(tool, model_path(name), tmp_path / "first.onnx", name)
    spa(first, tmp_path / "second.onnx", calib_path(name), limit=CALIB)
    onnx.checker.check_model(str(tmp_path / "second.onnx"))
    assert _params(tmp_path / "second.onnx") < 0.9 * _params(first)
    assert (tmp_path / "second.onnx").stat().st_size < first.stat().st_size
    # what was cut and refitted as integers is not float now
    assert _integers(tmp_path / "second.onnx") == _integers(first)
    assert _accuracy(name, tmp_path / "second.onnx") >= MANIFEST[name]["test_accuracy"] - MARGIN


@pytest.mark.parametrize(("name", "tool"), PAIRS)
def test_after_spa(name, tool, tmp_path, folder) -> None:
    whole = _run(tool, model_path(name), tmp_path / "whole.onnx", name)
    small = _run(tool, _small(name, folder), tmp_path / "small.onnx", name)
    assert _params(small) < 0.9 * _params(whole)
    assert small.stat().st_size < whole.stat().st_size
    assert _accuracy(name, small) >= MANIFEST[name]["test_accuracy"] - MARGIN


def test_layers_made_for_one_machine_are_named(tmp_path) -> None:
    """Optimised for this processor (``all``), a CNN holds convolutions in a layout that no rule knows."""
    made = _run("ORT all", model_path("digits_mobilenet"), tmp_path / "all.onnx", "digits_mobilenet")
    if not any(n.domain == "com.microsoft.nchwc" for n in onnx.load(made).graph.node):
        pytest.skip("this processor has no blocked layout")
    assert any("com.microsoft.nchwc" in f.reason.text for f in spa_cli.inspect(made).grouping.frozen)
