"""Where commands are run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.samples import model_path


@pytest.fixture
def place(tmp_path) -> tuple[Path, Path]:
    """A folder for inputs that has to stay as it was (with model.onnx in it), and an empty one for outputs."""
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    out.mkdir()
    shutil.copy(model_path("digits_resnet"), given / "model.onnx")
    return given, out
