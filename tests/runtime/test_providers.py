"""What onnxruntime computes on."""

from __future__ import annotations

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
        def __init__(self, model: object, options: ort.SessionOptions, providers: list[str]) -> None:
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
