"""Latency is measured for seconds; here a few runs will do."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import pytest

from spa_cli import finish
from spa_cli.verification import compare
from tests.samples import model_path


@pytest.fixture(autouse=True)
def quick_latency(monkeypatch) -> None:
    """Measure latency for 20 ms."""
    for module in (finish, compare):
        monkeypatch.setattr(module, "latency", functools.partial(module.latency, budget=0.02))


@pytest.fixture
def place(tmp_path) -> tuple[Path, Path]:
    """A folder for inputs that has to stay as it was (with model.onnx in it), and an empty one for outputs."""
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    out.mkdir()
    shutil.copy(model_path("digits_resnet"), given / "model.onnx")
    return given, out
