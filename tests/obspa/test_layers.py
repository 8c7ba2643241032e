import itertools
import math

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from spa_cli.analysis import analyse_model
from spa_cli.graph.known import Shapes
from spa_cli.obspa.layers import Layer, find_layers
from spa_cli.obspa.moments import Moments
from spa_cli.obspa.statistics import reader
from spa_cli.obspa.windows import output_size
from spa_cli.runtime.load import load
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


def layers_of(model: onnx.ModelProto) -> list[Layer]:
    analysis = analyse_model(load(model), {})
    return find_layers(analysis.graph, analysis.state.shapes)


def test_what_slides_or_recurs_is_a_layer_whatever_the_shape_of_its_input() -> None:
    model = build(
        """(float[1,4,6,6] x, float[5,2,3] s) => (y, h, z) {
          y = Conv(x, c)
          h = LSTM<hidden_size=2>(s, w, r)
          z = MatMul(x, m)
        }""",
        c=(4, 4, 3, 3),
        w=(1, 8, 3),
        r=(1, 8, 2),
        m=(6, 6),
    )
    graph = load(model).graph
    assert [layer.node.op for layer in find_layers(graph, Shapes())] == ["Conv", "LSTM"]
    assert [layer.node.op for layer in layers_of(model)] == ["Conv", "LSTM", "MatMul"]


def matrix_of(model: onnx.ModelProto, layer: Layer, x: np.ndarray) -> np.ndarray:
    analysis = analyse_model(load(model), {})
    shapes = analysis.state.shapes.shape
    operand = layer.weight(reader(analysis.graph), lambda n: tuple(shapes[n] or ()))
    return layer.matrix(operand, layer.groups(x.shape, operand.shape))


def naive_patches(x: np.ndarray, kernel, strides, dilations, pads) -> np.ndarray:
    """(n, positions, c, *k) by loops over positions and taps."""
    rank = len(kernel)
    padded = np.pad(x, [(0, 0), (0, 0), *pads])
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = [(n - s) // t + 1 for n, s, t in zip(padded.shape[2:], spans, strides, strict=True)]
    rows = []
    for position in itertools.product(*map(range, sizes)):
        window = np.empty((*x.shape[:2], *kernel), x.dtype)
        for tap in itertools.product(*map(range, kernel)):
            at = [position[i] * strides[i] + tap[i] * dilations[i] for i in range(rank)]
            window[(slice(None), slice(None), *tap)] = padded[(slice(None), slice(None), *at)]
        rows.append(window)
    return np.stack(rows, 1)


@pytest.mark.parametrize(("rank", "group", "stride", "dilation", "pads"), CASES)
def test_hessians_are_those_of_a_naive_im2col_and_products_the_convolution(rank, group, stride, dilation, pads) -> None:
    model = _conv(rank, group, stride, dilation, pads)
    (layer,) = layers_of(model)
    x = np.random.default_rng(1).normal(size=(2, 4, *[9] * rank)).astype(np.float32)
    (y,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    weight = numpy_helper.to_array(model.graph.initializer[0])
    assert layer.kernel == weight.shape[2:]
    assert output_size(layer.node, x.shape[2:], layer.kernel) == y.shape[2:]
    assert layer.positions(x.shape) == math.prod(y.shape[2:])
    rows = layer.inputs_at(x, None, group)
    matrix = layer.matrix(weight, group)
    product = np.matmul(rows, matrix.transpose(0, 2, 1))
    assert np.allclose(product, layer.outputs_at(y, None, group), atol=1e-4)

    total = (y.shape[2] - 1) * stride + dilation * 2 + 1 - 9
    sides = {"none": (0, 0), "uneven": (1, 2), "SAME_UPPER": (total // 2, total - total // 2)}[pads]
    naive = naive_patches(x, layer.kernel, [stride] * rank, [dilation] * rank, [sides] * rank)
    naive = naive.reshape(-1, group, 4 // group * 3**rank).transpose(1, 0, 2)
    moments = Moments()
    moments.add(rows)
    for g in range(group):
        assert np.allclose(moments.h[g], np.cov(naive[g].T, bias=True), atol=1e-4)

    some = np.array([0, 2])
    picked = rows.reshape(group, 2, -1, rows.shape[2])[:, :, some].reshape(group, 4, -1)
    assert np.array_equal(layer.inputs_at(x, some, group), picked)
    assert np.array_equal(layer.restore(matrix, weight.shape), weight)


def test_a_transposed_convolution_before_its_windows_are_added() -> None:
    model = build("(float[1,4,5] x) => (y) { y = ConvTranspose<group=2, strides=[2]>(x, w) }", w=(4, 3, 3))
    (layer,) = layers_of(model)
    x = np.random.default_rng(2).normal(size=(1, 4, 5)).astype(np.float32)
    (y,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    weight = numpy_helper.to_array(model.graph.initializer[0])
    columns = np.matmul(layer.inputs_at(x, None, 2), layer.matrix(weight, 2).transpose(0, 2, 1))
    total = np.zeros_like(y)
    for group, position, channel, tap in itertools.product(range(2), range(5), range(3), range(3)):
        total[0, 3 * group + channel, 2 * position + tap] += columns[group, position, 3 * channel + tap]
    assert np.allclose(total, y, atol=1e-4)
    assert np.array_equal(layer.restore(layer.matrix(weight, 2), weight.shape), weight)
    moments = Moments()
    moments.add(layer.inputs_at(x, None, 2))
    for g in range(2):
        assert np.allclose(moments.h[g], np.cov(x[0, 2 * g : 2 * g + 2], bias=True), atol=1e-5)


DENSE = {
    "linear": ("(float[3,7,4] x) => (y) { y = MatMul(x, w) }", (4, 5)),
    "vector": ("(float[3,4] x) => (y) { y = MatMul(x, w) }", (4,)),
    "left": ("(float[3,4,7] x) => (y) { y = MatMul(w, x) }", (5, 4)),
    "left of two axes": ("(float[4,7] x) => (y) { y = MatMul(w, x) }", (5, 4)),
    "batched": ("(float[3,2,7,4] x) => (y) { y = MatMul(x, w) }", (2, 4, 5)),
    "batched left": ("(float[3,2,4,7] x) => (y) { y = MatMul(w, x) }", (2, 5, 4)),
    "broadcast weight": ("(float[3,2,7,4] x) => (y) { y = MatMul(x, w) }", (1, 4, 5)),
    "experts": ("(float[2,7,4] x) => (y) { y = MatMul(x, w) }", (2, 4, 5)),
    "gemm": ("(float[3,4] x) => (y) { y = Gemm<transB=1, alpha=0.5>(x, w) }", (5, 4)),
    "gemm of columns": ("(float[4,3] x) => (y) { y = Gemm<transA=1>(x, w) }", (4, 5)),
    "einsum to heads": ('(float[3,7,4] x) => (y) { y = Einsum<equation="btd,dhe->bthe">(x, w) }', (4, 2, 3)),
    "einsum from heads": ('(float[3,7,2,4] x) => (y) { y = Einsum<equation="bthe,hed->btd">(x, w) }', (2, 4, 5)),
    "einsum per head": ('(float[3,2,7,4] x) => (y) { y = Einsum<equation="bhte,hef->bhtf">(x, w) }', (2, 4, 5)),
    "einsum with dots": ('(float[3,7,4] x) => (y) { y = Einsum<equation="...d,dk->...k">(x, w) }', (4, 5)),
}


@pytest.mark.parametrize("kind", DENSE)
def test_rows_times_matrix_are_the_product(kind) -> None:
    text, shape = DENSE[kind]
    model = build(text, w=shape)
    (layer,) = layers_of(model)
    size = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(3).normal(size=size).astype(np.float32)
    (y,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    matrix = matrix_of(model, layer, x)
    rows = layer.inputs_at(x, None, len(matrix))
    assert np.allclose(rows @ matrix.transpose(0, 2, 1), layer.outputs_at(y, None, len(matrix)), atol=1e-5)
    weight = numpy_helper.to_array(model.graph.initializer[0])
    assert np.allclose(layer.restore(matrix, weight.shape), weight)


def test_sums_over_positions_are_no_layer() -> None:
    text = '(float[3,7,4] x) => (y) { y = Einsum<equation="btd,dk->bk">(x, w) }'
    assert layers_of(build(text, w=(4, 5))) == []


@pytest.mark.parametrize(
    ("chain", "shape", "dtype"),
    [
        ("w = Transpose<perm=[1,0]>(s)", (5, 4), np.float32),
        ("w = Cast<to=1>(s)", (4, 5), np.float16),
        ("h = Transpose<perm=[1,0]>(s)  w = Cast<to=1>(h)", (5, 4), np.float16),
        ("w = Reshape(s, size)", (2, 2, 5), np.float32),
        ("h = Reshape(s, size)  w = Identity(h)", (20,), np.float32),
        ("w = DequantizeLinear(s, scale)", (4, 5), np.int8),
        ("w = DequantizeLinear<axis=1>(s, scales, zeros)", (4, 5), np.int8),
        ("w = Mul(s, scales)", (4, 5), np.float32),
        ("w = Mul(scales, s)", (4, 5), np.float32),
        ("h = Div(s, scale)  w = Reshape(h, size)", (20,), np.float32),
        ("h = Transpose<perm=[1,0]>(s)  w = Div(h, scales)", (5, 4), np.float32),
    ],
)
def test_weights_are_read_and_written_as_they_are_stored(chain, shape, dtype) -> None:
    rng = np.random.default_rng(4)
    stored = rng.integers(-90, 90, shape).astype(dtype) if dtype == np.int8 else rng.normal(size=shape).astype(dtype)
    zeros = np.array([0, 1, 2, -3, 4], np.int8)
    model = build(
        "(float[3,4] x) => (y) { " + chain + "  y = MatMul(x, w) }",
        s=stored,
        size=[4, 5],
        scale=0.5,
        scales=np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32),
        zeros=zeros,
    )
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("w"))
    (w,) = ort.InferenceSession(model.SerializeToString()).run(["w"], {"x": np.zeros((3, 4), np.float32)})
    model.graph.output.pop()
    analysis = analyse_model(load(model), {})
    (layer,) = find_layers(analysis.graph, analysis.state.shapes)
    read = reader(analysis.graph)
    value = layer.weight(read, lambda n: tuple(analysis.state.shapes.shape[n] or ()))
    assert np.allclose(value, w, atol=1e-3)
    assert layer.stored.name == "s"
    assert np.array_equal(layer.stored.back(value, read), stored)


@pytest.mark.parametrize("chain", ["w = Mul(s, row)", "w = Mul(row, s)", "h = Reshape(s, size)  w = Mul(h, row)"])
def test_a_scale_that_makes_the_weight_larger_is_not_followed(chain) -> None:
    text = f"(float[3,4] x) => (y) {{ {chain}  y = MatMul(x, w) }}"
    assert layers_of(build(text, s=(4, 1), row=(1, 5), size=[4, 1])) == []


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
    first, second, last = (layer.around for layer in layers_of(model))
    assert first.norm is not None
    assert (first.after_norm, first.other, first.target) == ("b", "c", "s")
    assert (second.other, second.target) == ("b", "s")
    assert last.bias is not None
    assert (last.bias.name, last.output, last.join) == ("bm", "y", None)


@pytest.mark.parametrize(
    ("activation", "flat"),
    [
        ("Relu(a)", (0, np.inf)),
        ("Clip(a, low, high)", (0, 6)),
        ("HardSwish(a)", (-3, np.inf)),
        ("HardSigmoid<alpha=0.2, beta=0.5>(a)", (-2.5, 2.5)),
        ("Tanh(a)", (-np.inf, np.inf)),
    ],
)
def test_where_the_activation_behind_a_layer_is_flat(activation, flat) -> None:
    text = "(float[N,4] x) => (y) { a = MatMul(x, w)  y = " + activation + " }"
    (layer,) = layers_of(build(text, w=(4, 4), low=0.0, high=6.0))
    assert np.allclose(layer.around.flat, flat)


def test_what_others_read_too_is_not_flat() -> None:
    text = "(float[N,4] x) => (y) { a = MatMul(x, w)  b = Relu(a)  y = Add(a, b) }"
    (layer,) = layers_of(build(text, w=(4, 4)))
    assert layer.around.flat == (-np.inf, np.inf)


def test_integer_layers_are_ranked_but_not_refitted() -> None:
    model = build(
        """(float[1,4] x) => (y) {
          q, s, z = DynamicQuantizeLinear(x)
          i = MatMulInteger(q, w, z)
          y = Cast<to=1>(i)
        }""",
        w=np.ones((4, 3), np.int8),
    )
    assert [layer.unfit for layer in layers_of(model)] == ["it computes with integers"]


PLAIN = {
    "tokens": ("(float[2,5,4] x) => (y) { y = MatMul(x, w) }", (4, 6)),
    "weight on the left": ("(float[2,4,5] x) => (y) { y = MatMul(w, x) }", (6, 4)),
    "gemm": ("(float[7,4] x) => (y) { y = Gemm<transB=1, alpha=0.5>(x, w) }", (6, 4)),
    "einsum": ('(float[2,4,5] x) => (y) { y = Einsum<equation="bct,oc->bto">(x, w) }', (6, 4)),
}
ROWS = [pytest.param(_conv(*case), id="-".join(map(str, case))) for case in CASES]
ROWS += [pytest.param(build(text, w=shape), id=name) for name, (text, shape) in PLAIN.items()]


@pytest.mark.parametrize("model", ROWS)
def test_rows_of_an_output_go_back_to_where_they_were(model) -> None:
    (layer,) = layers_of(model)
    x = np.zeros([d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim], np.float32)
    (y,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    y = np.random.default_rng(0).normal(size=y.shape)
    groups = x.shape[1] // model.graph.initializer[0].dims[1] if layer.conv else 1
    assert np.array_equal(layer.spread(layer.outputs_at(y, None, groups), y.shape), y)
