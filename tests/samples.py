"""The trained models of ``sample_models/`` and their data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent.parent / "sample_models"
MANIFEST: dict[str, dict[str, Any]] = json.loads((FOLDER / "manifest.json").read_text())
SAMPLES = sorted(MANIFEST)


def model_path(name: str) -> Path:
    """The .onnx file."""
    return FOLDER / MANIFEST[name]["file"]


def calib_path(name: str) -> Path:
    """Calibration samples, without labels."""
    return FOLDER / f"{name}_calib.npz"


def test_set(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Test images and their labels."""
    data = np.load(FOLDER / f"{name}_test.npz")
    images = data[MANIFEST[name]["input_name"]]
    return images, data["labels"]
