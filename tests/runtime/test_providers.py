"""What onnxruntime computes on."""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import onnxruntime as ort
import pytest

import spa_cli
from spa_cli.errors import UsageError
from spa_cli.runtime import session
from spa_cli.runtime.providers import CPU, chosen, named, running_on
from tests.samples import model_path


def test_names() -> None:
    assert named("cpu") == named(["CPUExecutionProvider"]) == named("") == CPU
    with pytest.raises(UsageError, match=r"--provider cuda is not in this onnxruntime, which has .*cpu; install"):
        named("cuda,cpu")


def test_the_choice_ends_with_its_block() -> None:
    with running_on("cpu,cpu"):
        assert chosen() == (*CPU, *CPU)
    assert chosen() == CPU


def test_calibration_and_timing_ask_for_the_chosen_ones_and_checks_for_the_cpu(monkeypatch) -> None:
    asked = []

    class Recording(ort.InferenceSession):
        def __init__(self, model: object, options: ort.SessionOptions, providers: list[str], **_: int) -> None:
            asked.append((options.graph_optimization_level, tuple(providers)))
            super().__init__(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(session.ort, "InferenceSession", Recording)
    spa_cli.prune(model_path("digits_mlp"), ratio=0.3, provider=("cpu", "cpu"), calib_samples=16)
    twice = (*CPU, *CPU)
    timed = [providers for level, providers in asked if level == ort.GraphOptimizationLevel.ORT_ENABLE_ALL]
    # two that are timed, and those that a repair is judged by
    assert len(timed) >= 2 and set(timed) == {twice}
    rest = [providers for level, providers in asked if level != ort.GraphOptimizationLevel.ORT_ENABLE_ALL]
    assert twice in rest
    assert CPU in rest


def test_a_provider_that_does_not_load_is_an_error(monkeypatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    model = str(model_path("digits_mlp"))
    opened = session.open_session(model)
    assert opened.run(None, {opened.get_inputs()[0].name: np.zeros((1, 64), np.float32)})
    with pytest.raises(UsageError, match="CUDAExecutionProvider does not load here"), pytest.warns(UserWarning):
        session.open_session(model, providers=("CUDAExecutionProvider", "CPUExecutionProvider"))


def test_a_provider_that_fails_says_so_once_and_not_on_standard_output(monkeypatch, capfd) -> None:
    """onnxruntime prints a banner there and goes on without it."""
    create = ort.InferenceSession._create_inference_session

    def fails(own: ort.InferenceSession, providers: list[str], *more: object) -> None:
        own._fallback_providers = list(CPU)
        if providers != list(CPU):
            raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : no device (is one plugged in?)")
        create(own, providers, *more)

    monkeypatch.setattr(ort.InferenceSession, "_create_inference_session", fails)
    model = str(model_path("digits_mlp"))
    ort.InferenceSession(model, providers=["AzureExecutionProvider", *CPU])
    assert "EP Error" in capfd.readouterr().out
    with pytest.raises(UsageError) as caught:
        session.open_session(model, providers=("AzureExecutionProvider", *CPU))
    assert str(caught.value) == (
        "AzureExecutionProvider can't take the model (no device (is one plugged in?)); use another provider, or leave "
        "--provider out"
    )
    # what is the model's own fault stays that
    with pytest.raises(Exception, match="NO_SUCHFILE"):
        session.open_session(f"{model}.none", providers=("AzureExecutionProvider", *CPU))
    assert capfd.readouterr().out == ""


def test_a_provider_that_fails_while_it_runs_raises(monkeypatch, capfd) -> None:
    opened = session.open_session(str(model_path("digits_mlp")))

    gone = ort.capi.onnxruntime_pybind11_state.EPFail("gone")
    failing = Mock(run=Mock(side_effect=gone), is_webgpu_graph_capture_enabled=Mock(return_value=False))
    monkeypatch.setattr(opened, "_sess", failing)
    with pytest.raises(Exception, match="gone"):
        opened.run(None, {i.name: np.zeros((1, 64), np.float32) for i in opened.get_inputs()})
    assert capfd.readouterr().out == ""


def test_a_model_may_have_any_name(tmp_path) -> None:
    """onnxruntime reads its own format from a file that ends like one."""
    path = tmp_path / "model.ort"
    path.write_bytes(model_path("digits_mlp").read_bytes())
    assert spa_cli.prune(path, tmp_path / "small.onnx", ratio=0.3, method="l1").after.params
