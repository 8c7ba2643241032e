"""Samples as they are shown."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import spa_cli
from spa_cli.calibration.chunks import Calibration
from spa_cli.calibration.seen import in_a_line, pictured
from tests.cli.running import spa
from tests.samples import calib_path, model_path

RAMP = np.linspace(-2, 2, 2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


@pytest.mark.parametrize(
    "array", [RAMP, RAMP.transpose(0, 2, 3, 1), RAMP[:, :1], (RAMP[:, :1] * 50 + 128).astype(np.uint8)]
)
def test_pictures_in_every_layout(array) -> None:
    shown = pictured(array)
    assert shown is not None
    assert shown.shape == (2, 4, 5, 3)
    assert (shown.min(), shown.max()) == (0, 1)
    # later ones are lighter
    assert shown[1].mean() > shown[0].mean()


@pytest.mark.parametrize(
    "array",
    [
        RAMP[0, 0],
        RAMP[:, 0],
        np.zeros((2, 4, 16, 64), "f"),
        RAMP[:, :2],
        RAMP[..., :2, :2],
        RAMP > 0,
        np.zeros((2, 7, 9, 9), "f"),
    ],
)
def test_what_is_no_picture(array) -> None:
    assert pictured(array) is None


def test_blue_is_blue() -> None:
    blue = np.zeros((1, 3, 4, 4), np.float32)
    blue[:, 0] = 1
    assert pictured(blue, "bgr")[0, 0, 0].tolist() == [0, 0, 1]
    assert pictured(np.ones((1, 1, 4, 4)), "rgb").max() == 0


def test_in_a_line() -> None:
    first = {"image": RAMP, "ids": np.array([[3, 9], [1, 0]]), "n": np.array([True, False])}
    said = in_a_line(Calibration([first], "2 samples of a.npz"))
    assert said == (
        "2 samples of a.npz; 'image' pictures of 3x4x5, values -2 to 2, 'ids' 2, values 0 to 9, 'n' single numbers"
    )


def test_telling_takes_no_copy() -> None:
    large = np.zeros((8, 3, 256, 256), np.float32)
    tracemalloc.start()
    said = in_a_line(Calibration([{"image": large}], "8 samples"))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "pictures of 3x256x256" in said
    assert most < large.nbytes / 2


def test_it_is_said_before_the_work_begins(tmp_path) -> None:
    ran = spa("prune", model_path("digits_resnet"), "-o", tmp_path / "s.onnx", "--ratio", 0.3, "--method", "l2", "-v")
    lines = ran.err.splitlines()
    (at,) = [i for i, line in enumerate(lines) if "runs on" in line]
    assert "synthetic samples (image: " in lines[at]
    assert "'image' pictures of 1x8x8, values " in lines[at]
    assert any("scoring channels" in line for line in lines[at:])


def test_three_are_on_the_page(tmp_path) -> None:
    given = {"ratio": 0.3, "method": "l2", "calib": calib_path("digits_resnet")}
    spa_cli.prune(model_path("digits_resnet"), tmp_path / "s.onnx", report=tmp_path / "p.html", **given)
    page = (tmp_path / "p.html").read_text("utf-8")
    drawn = page[page.index('id="figure-samples"') :]
    drawn = drawn[: drawn.index("</figure>")]
    assert drawn.count("<image ") == 3
    assert "pictures of 1x8x8" in drawn
