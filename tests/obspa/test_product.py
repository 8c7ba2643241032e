import numpy as np
import onnxruntime as ort
import pytest

from spa_cli.analysis import analyse_model
from spa_cli.obspa.product import Product
from spa_cli.obspa.statistics import reader
from spa_cli.runtime.load import load
from tests.builders import build
from tests.obspa.test_layers import CASES, _conv, layers_of

DENSE = {
    "tokens": ("(float[2,5,4] x) => (y) { y = MatMul(x, w) }", (4, 6)),
    "weight on the left": ("(float[2,4,5] x) => (y) { y = MatMul(w, x) }", (6, 4)),
    "gemm": ("(float[7,4] x) => (y) { y = Gemm<transB=1, alpha=0.5>(x, w) }", (6, 4)),
    "einsum": ('(float[2,4,5] x) => (y) { y = Einsum<equation="bct,oc->bto">(x, w) }', (6, 4)),
}


def product_of(model) -> Product:
    (layer,) = layers_of(model)
    analysis = analyse_model(load(model), {})
    sizes = analysis.state.shapes.shape
    operand = layer.weight(reader(analysis.graph), lambda name: tuple(sizes[name] or ()))
    return Product(layer, operand, tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim))


MODELS = [pytest.param(_conv(*case), id="-".join(map(str, case))) for case in CASES]
MODELS += [pytest.param(build(text, w=shape), id=name) for name, (text, shape) in DENSE.items()]


@pytest.mark.parametrize("model", MODELS)
def test_the_product_is_the_nodes_and_the_adjoint_its_transpose(model) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=[d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]).astype(np.float32)
    (y,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    product = product_of(model)
    assert np.allclose(product.apply(x), y, atol=1e-4)
    other = rng.normal(size=y.shape).astype(np.float32)
    back = product.adjoint(other)
    assert back.shape == x.shape
    assert np.vdot(y, other) == pytest.approx(np.vdot(x, back), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_rows_of_an_output_go_back_to_where_they_were(model) -> None:
    (layer,) = layers_of(model)
    x = np.zeros([d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim], np.float32)
    (y,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    y = np.random.default_rng(0).normal(size=y.shape)
    groups = x.shape[1] // model.graph.initializer[0].dims[1] if layer.conv else 1
    assert np.array_equal(layer.spread(layer.outputs_at(y, None, groups), y.shape), y)
