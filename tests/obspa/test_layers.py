import itertools

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from spa_cli.graph.load import load
from spa_cli.obspa.layers import features, find_layers, output_size, values_at
from tests.builders import build

PADS = ("none", "uneven", "SAME_UPPER")
CASES = [c for c in itertools.product((1, 2), (1, 2), (1, 2), (1, 2), PADS) if c[3:] != (2, "SAME_UPPER")]


def _conv(rank, group, stride, dilation, pads) -> onnx.ModelProto:
    attributes = [f"group={group}", f"strides={[stride] * rank}", f"dilations={[dilation] * rank}"]
    if pads == "uneven":
        attributes.append(f"pads={[1] * rank + [2] * rank}")
    elif pads != "none":
        attributes.append(f'auto_pad="{pads}"')
    dims = ",".join(["9"] * rank)
    text = f"(float[2,4,{dims}] x) => (y) {{ y = Conv<{', '.join(attributes)}>(x, w) }}"
    return build(text, w=(6, 4 // group, *[3] * rank))


@pytest.mark.parametrize(("rank", "group", "stride", "dilation", "pads"), CASES)
def test_patches_times_weights_are_the_convolution(rank, group, stride, dilation, pads) -> None:
    model = _conv(rank, group, stride, dilation, pads)
    (layer,) = find_layers(load(model).graph)
    x = np.random.default_rng(1).normal(size=(2, 4, *[9] * rank)).astype(np.float32)
    (y,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    weight = onnx.numpy_helper.to_array(model.graph.initializer[0])
    kernel = weight.shape[2:]
    assert output_size(layer, x.shape[2:], kernel) == y.shape[2:]
    rows = features(layer, x, None, group, kernel)
    product = np.matmul(rows, layer.matrix(weight, group).transpose(0, 2, 1))
    flat = np.moveaxis(product, 0, 1).reshape(product.shape[1], -1)
    assert np.allclose(flat, values_at(layer, y, None), atol=1e-4)
    some = np.array([0, 2])
    picked = rows.reshape(group, 2, -1, rows.shape[2])[:, :, some].reshape(group, 4, -1)
    assert np.array_equal(features(layer, x, some, group, kernel), picked)
    assert np.array_equal(layer.restore(layer.matrix(weight, group), weight, group), weight)


def test_a_transposed_convolution_before_its_windows_are_added() -> None:
    model = build("(float[1,4,5] x) => (y) { y = ConvTranspose<group=2, strides=[2]>(x, w) }", w=(4, 3, 3))
    (layer,) = find_layers(load(model).graph)
    x = np.random.default_rng(2).normal(size=(1, 4, 5)).astype(np.float32)
    (y,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    weight = onnx.numpy_helper.to_array(model.graph.initializer[0])
    columns = np.matmul(features(layer, x, None, 2, ()), layer.matrix(weight, 2).transpose(0, 2, 1))
    total = np.zeros_like(y)
    for group, position, channel, tap in itertools.product(range(2), range(5), range(3), range(3)):
        total[0, 3 * group + channel, 2 * position + tap] += columns[group, position, 3 * channel + tap]
    assert np.allclose(total, y, atol=1e-4)
    assert np.array_equal(layer.restore(layer.matrix(weight, 2), weight, 2), weight)


def test_what_surrounds_a_layer() -> None:
    model = build(
        """(float[1,3,6,6] x) => (y) {
          a = Conv(x, wa)
          b = BatchNormalization(a, scale, bias, mean, var)
          c = Conv(x, wc)
          s = Add(b, c)
          p = GlobalAveragePool(s)
          f = Flatten(p)
          m = MatMul(f, wm)
          y = Add(m, bm)
        }""",
        wa=(4, 3, 1, 1),
        wc=(4, 3, 1, 1),
        scale=(4,),
        bias=(4,),
        mean=(4,),
        var=np.ones(4, np.float32),
        wm=(4, 5),
        bm=(5,),
    )
    first, second, last = find_layers(load(model).graph)
    assert first.norm is not None
    assert (first.after_norm, first.other, first.target) == ("b", "c", "s")
    assert (second.other, second.target) == ("b", "s")
    assert (last.bias, last.output, last.join) == ("bm", "y", None)


def test_shared_weights_are_no_layer() -> None:
    model = build("(float[N,4] x) => (y) { a = MatMul(x, w)  b = Relu(a)  y = MatMul(b, w) }", w=(4, 4))
    assert find_layers(load(model).graph) == []
