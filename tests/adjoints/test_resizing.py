"""Resizing."""

import numpy as np
import pytest

from tests.adjoints.differences import adjoint_of, check, model_of, noise

SCALES = {"s": np.array([1, 1, 2, 3], np.float32), "roi": np.zeros(0, np.float32)}
SIZES = {"z": np.array([1, 2, 5, 3], np.int64)}
CASES = [
    (9, "y = Upsample(x, s)", SCALES),
    (9, 'y = Upsample<mode="linear">(x, s)', SCALES),
    (7, "y = Upsample<scales=[1.0,1.0,2.0,3.0]>(x)", {}),
    (10, "y = Resize(x, s)", SCALES),
    (11, "y = Resize(x, roi, s)", SCALES),
    (13, 'y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric">(x, , s)', SCALES),
    (13, 'y = Resize<mode="linear">(x, , s)', SCALES),
    (13, 'y = Resize<mode="linear", coordinate_transformation_mode="align_corners">(x, , , z)', SIZES),
    (13, 'y = Resize<mode="cubic">(x, , , z)', SIZES),
    (19, 'y = Resize<mode="linear", antialias=1>(x, , , z)', SIZES),
]


@pytest.mark.parametrize(("opset", "body", "weights"), CASES)
def test_resize(opset, body, weights) -> None:
    inputs = {"x": noise(1, 2, 3, 4).astype("float32")}
    model = model_of(body, inputs, {n: w for n, w in weights.items() if n in body}, opset=opset, dtype="float")
    check(model, inputs, ["x"], step=1e-2, tolerance=2e-3)


def test_image_of_any_size() -> None:
    inputs = {"x": noise(1, 2, 3, 4).astype("float32")}
    model = model_of("y = Resize(x, , s)", inputs, {"s": SCALES["s"]}, opset=13, dtype="float", free=True)
    assert "varies" in adjoint_of(model, inputs, ["x"]).missing["x"]
