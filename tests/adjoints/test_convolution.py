"""Convolutions."""

import pytest

from tests.adjoints.differences import adjoint_of, check, model_of, noise

# attributes, image, weight
CONV = [
    ("", (2, 3, 5), (4, 3, 3)),
    ("strides=[2], pads=[1,2]", (1, 2, 6), (2, 2, 3)),
    ("", (2, 3, 5, 4), (2, 3, 3, 3)),
    ("pads=[1,1,1,1]", (2, 3, 5, 4), (2, 3, 3, 3)),
    ("pads=[1,0,2,1], dilations=[2,1]", (1, 2, 6, 5), (2, 2, 3, 2)),
    ("strides=[2,2], pads=[1,1,1,1]", (1, 2, 6, 6), (3, 2, 3, 3)),
    ("strides=[2,3], pads=[0,1,0,1]", (1, 2, 7, 6), (3, 2, 2, 3)),
    ("strides=[3,3]", (1, 2, 5, 6), (2, 2, 1, 1)),
    ("pads=[2,2,2,2]", (1, 2, 4, 4), (2, 2, 1, 1)),
    ("group=2, strides=[2,1], pads=[1,1,1,1]", (2, 4, 5, 4), (6, 2, 3, 3)),
    ("group=3, pads=[1,1,1,1]", (1, 3, 4, 4), (3, 1, 3, 3)),
    ("group=4, pads=[1,1,1,1]", (1, 4, 4, 4), (8, 1, 3, 3)),
    ('auto_pad="SAME_UPPER", strides=[2,2]', (1, 2, 5, 6), (2, 2, 3, 3)),
    ('auto_pad="SAME_LOWER", strides=[2,2]', (1, 2, 5, 6), (2, 2, 2, 3)),
    ('auto_pad="SAME_UPPER"', (1, 2, 5, 6), (2, 2, 2, 3)),
    ('auto_pad="VALID"', (1, 2, 5, 6), (2, 2, 2, 3)),
    ("", (1, 2, 3, 4, 3), (2, 2, 2, 2, 2)),
    ("strides=[2,1,2], pads=[1,1,0,1,1,0]", (1, 2, 4, 3, 4), (2, 2, 3, 2, 2)),
    # fewer outputs than inputs
    ("", (2, 4, 5), (2, 4, 3)),
    ("", (2, 4, 3, 3), (2, 4, 1, 1)),
    ("pads=[1,0,1,0]", (2, 4, 4, 3), (2, 4, 3, 1)),
    ("pads=[0,1,0,1]", (2, 4, 4, 3), (2, 4, 1, 3)),
    ("pads=[1,0,2,1], dilations=[2,1]", (1, 3, 6, 5), (2, 3, 3, 2)),
    ("group=2, pads=[1,1,1,1]", (2, 6, 5, 4), (4, 3, 3, 3)),
    ("pads=[1,1,0,1,1,0]", (1, 3, 4, 3, 4), (2, 3, 3, 2, 2)),
]


def _conv(operator, attributes, image, weight, constant, free=False) -> tuple:
    x, w = noise(*image).astype("float32"), noise(*weight, seed=1).astype("float32")
    inputs, weights = ({"x": x}, {"w": w}) if constant else ({"x": x, "w": w}, {})
    text = f"y = {operator}{f'<{attributes}>' if attributes else ''}(x, w)"
    return model_of(text, inputs, weights, opset=13, dtype="float", free=free), inputs


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(("attributes", "image", "weight"), CONV)
def test_conv(attributes, image, weight, constant) -> None:
    model, inputs = _conv("Conv", attributes, image, weight, constant)
    check(model, inputs, list(inputs), step=1e-2, tolerance=2e-3)


@pytest.mark.parametrize("attributes", ["", "strides=[2,2], pads=[1,1,1,1]", 'auto_pad="SAME_UPPER"'])
def test_images_of_other_sizes(attributes) -> None:
    model, inputs = _conv("Conv", attributes, (1, 2, 5, 6), (2, 2, 3, 3), True, free=True)
    check(model, inputs, ["x"], {"x": noise(2, 2, 6, 7).astype("float32")}, step=1e-2, tolerance=2e-3)


def test_padding_of_sizes_that_vary() -> None:
    model, inputs = _conv("Conv", 'auto_pad="SAME_UPPER", strides=[2,2]', (1, 2, 5, 6), (2, 2, 3, 3), True, free=True)
    assert "varies" in adjoint_of(model, inputs, ["x"]).missing["x"]


def test_bias() -> None:
    inputs = {n: noise(*s).astype("float32") for n, s in (("x", (1, 2, 4, 4)), ("b", (3,)))}
    weights = {"w": noise(3, 2, 3, 3).astype("float32")}
    model = model_of("y = Conv(x, w, b)", inputs, weights, dtype="float")
    check(model, inputs, ["x", "b"], step=1e-2, tolerance=2e-3)


TRANSPOSED = [
    ("", (2, 3, 5), (3, 2, 3)),
    ("strides=[2,2], pads=[1,1,1,1]", (1, 2, 3, 3), (2, 3, 3, 3)),
    ("strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]", (1, 2, 3, 3), (2, 3, 3, 3)),
    ("strides=[2,2], group=2", (1, 4, 3, 2), (4, 2, 2, 2)),
    ("strides=[2,2], dilations=[2,1], pads=[0,1,1,0]", (1, 2, 3, 3), (2, 2, 2, 3)),
    ('strides=[2,2], auto_pad="SAME_UPPER"', (1, 2, 3, 3), (2, 3, 3, 3)),
    ('strides=[2,2], auto_pad="SAME_LOWER"', (1, 2, 3, 3), (2, 3, 3, 3)),
    ("strides=[2,2], output_shape=[6,6]", (1, 2, 3, 3), (2, 3, 3, 3)),
    ('strides=[2,2], auto_pad="VALID", output_shape=[8,8]', (1, 2, 3, 3), (2, 3, 3, 3)),
]


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(("attributes", "image", "weight"), TRANSPOSED)
def test_conv_transpose(attributes, image, weight, constant) -> None:
    model, inputs = _conv("ConvTranspose", attributes, image, weight, constant)
    check(model, inputs, list(inputs), step=1e-2, tolerance=2e-3)
