"""Pooling."""

import pytest

from tests.adjoints.differences import check, model_of, noise

AVERAGE = [
    ("kernel_shape=[2,2], strides=[2,2]", (2, 3, 4, 6)),
    ("kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]", (1, 2, 5, 6)),
    ("kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], count_include_pad=1", (1, 2, 5, 6)),
    ("kernel_shape=[3,3], strides=[2,2], ceil_mode=1", (1, 2, 6, 6)),
    ('kernel_shape=[3,2], auto_pad="SAME_UPPER"', (1, 2, 4, 5)),
    ("kernel_shape=[3], strides=[1], pads=[1,1]", (1, 2, 6)),
    ("kernel_shape=[2,2,2]", (1, 2, 3, 3, 3)),
    ("kernel_shape=[2,2], strides=[3,3]", (1, 2, 6, 7)),
]
MAX = [
    ("kernel_shape=[2,2], strides=[2,2]", (2, 3, 4, 6)),
    ("kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]", (2, 2, 5, 6)),
    ("kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1]", (1, 2, 4, 4)),
    ("kernel_shape=[3,3], strides=[2,2], ceil_mode=1", (1, 2, 6, 6)),
    ('kernel_shape=[3,2], strides=[2,2], auto_pad="SAME_UPPER"', (1, 2, 4, 5)),
    ("kernel_shape=[2,2], dilations=[2,2]", (1, 2, 5, 5)),
    ("kernel_shape=[3], strides=[1], pads=[1,1]", (1, 2, 6)),
    ("kernel_shape=[2,2,2]", (1, 2, 3, 3, 3)),
]


def _check(operator, attributes, shape, opset) -> None:
    inputs = {"x": noise(*shape).astype("float32")}
    model = model_of(f"y = {operator}<{attributes}>(x)", inputs, {}, opset=opset, dtype="float")
    check(model, inputs, ["x"], step=1e-3, tolerance=1e-2)


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize(("attributes", "shape"), AVERAGE)
def test_average(attributes, shape, opset) -> None:
    _check("AveragePool", attributes, shape, opset)


@pytest.mark.parametrize("opset", [10, 12, 18])
@pytest.mark.parametrize(("attributes", "shape"), MAX)
def test_max(attributes, shape, opset) -> None:
    _check("MaxPool", attributes, shape, opset)


@pytest.mark.parametrize("opset", [8, 18])
@pytest.mark.parametrize("operator", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global(operator, opset) -> None:
    inputs = {"x": noise(2, 3, 3, 4).astype("float32")}
    model = model_of(f"y = {operator}(x)", inputs, {}, opset=opset, dtype="float", free=True)
    check(model, inputs, ["x"], {"x": noise(1, 3, 2, 5).astype("float32")}, step=1e-3, tolerance=1e-2)
