import subprocess
import sys

import numpy as np
import pytest
from onnx import helper

from spa_cli.errors import ModelError, UsageError
from spa_cli.gradients import backend
from spa_cli.gradients.differentiable import Differentiable
from spa_cli.runtime.load import load
from tests.builders import build
from tests.extras import needs

PRODUCT = "(float[N,5] x) => (float[N,4] y) { y = MatMul(x, w) }"
INSTEAD = "use a criterion that needs no gradients, such as obspa, or --method scores:FILE.npz"


def test_without_the_extra_everything_else_still_imports_and_a_gradient_says_what_to_install() -> None:
    code = """
import sys
sys.modules["torch"] = None
import spa_cli.cli, spa_cli.calibration.read, spa_cli.gradients.loss
from spa_cli.errors import UsageError
from spa_cli.gradients.differentiable import Differentiable
try:
    Differentiable.of(None, {}, [])
except UsageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "; install them in spa's own environment: pip install torch onnx2torch, or " + INSTEAD in done.stdout


def test_nothing_imports_torch_before_a_gradient_is_asked_for() -> None:
    code = "import sys, spa_cli.cli, spa_cli.gradients.differentiable; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_stand_in_for_torchvision_goes_again() -> None:
    needs("torch")
    backend.require()
    assert "onnx2torch" in sys.modules
    stood_in = getattr(sys.modules.get("torchvision"), "__file__", None) is None
    assert "torchvision" not in sys.modules or not stood_in


@pytest.fixture
def torch() -> object:
    needs("torch", "onnx2torch")
    return sys.modules["onnx2torch"]


def test_an_operator_without_a_converter_is_named(torch) -> None:
    model = build(
        "(float[N,1,6,6] x) => (float[N,1,6,6] y) { y = Mul(x, w)\n z = custom.Fold(y) }",
        domains={"custom": 1},
        w=(1, 1, 6, 6),
    )
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("z", 1, [None] * 4))
    reference = [np.zeros((1, 1, 6, 6), np.float32)]
    message = "through operator 'Fold' of node 'Fold_z' .there is no converter for it in opset 1 of custom.; " + INSTEAD
    with pytest.raises(ModelError, match=message):
        Differentiable.of(load(model).graph, {"x": reference[0]}, reference)


def test_what_an_operator_of_ours_does_not_take_is_named(torch) -> None:
    model = build(
        "(float[N,1,6,6] x) => (float[N,1,4,4] y) { a = Mul(x, w)\n y = MaxPool<kernel_shape=[3,3]>(a) }",
        w=(1, 1, 6, 6),
    )
    model.graph.node[1].output.append("at")
    x = np.ones((1, 1, 6, 6), np.float32)
    with pytest.raises(ModelError, match=r"'MaxPool' of node 'MaxPool_y' \(MaxPool with indices\)"):
        Differentiable.of(load(model).graph, {"x": x}, [x[..., :4, :4]])


def test_a_model_that_computes_something_else_is_not_trusted(torch) -> None:
    x, graph = np.ones((2, 5), np.float32), load(build(PRODUCT, w=(5, 4))).graph
    right = x @ graph.array("w")
    Differentiable.of(graph, {"x": x}, [right])
    with pytest.raises(ModelError, match=r"gives 'y' with a relative error of 0.0[0-9]+ to onnxruntime, so its grad"):
        Differentiable.of(graph, {"x": x}, [right * 1.01])
    with pytest.raises(ModelError, match="error of inf"):
        Differentiable.of(graph, {"x": x}, [right[:1]])


def test_what_torch_or_onnxruntime_make_of_it_is_one_sentence(torch, monkeypatch) -> None:
    def fails(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("out of memory\nand more")

    from spa_cli.gradients import convert, static

    x, graph = np.ones((2, 5), np.float32), load(build(PRODUCT, w=(5, 4))).graph
    right = [x @ graph.array("w")]
    by = Differentiable.of(graph, {"x": x}, right)
    with pytest.raises(ModelError, match=f"input 'x' holds <U1, through which no gradient passes; {INSTEAD}"):
        by.forward({"x": np.array([["a"] * 5])})
    with monkeypatch.context() as patched:
        patched.setattr(by.function({"x": x}).module, "forward", fails)
        with pytest.raises(ModelError, match=f"model doesn't run in torch .out of memory.; {INSTEAD}"):
            by.forward({"x": x})
    with monkeypatch.context() as patched:
        patched.setattr(convert.onnx2torch, "convert", fails)
        with pytest.raises(ModelError, match=f"onnx2torch can't convert the model .out of memory.; {INSTEAD}"):
            Differentiable.of(graph, {"x": x}, right)
    sized = load(build("(float[N,5] x) => (y) { s = Shape(x)\n a = Mul(x, w)\n y = Reshape(a, s) }", w=(1, 5))).graph
    monkeypatch.setattr(static, "open_session", fails)
    with pytest.raises(ModelError, match="onnxruntime can't compute the shapes in the model"):
        Differentiable.of(sized, {"x": x}, [x * sized.array("w")])


def test_a_model_without_weights_or_real_outputs_has_no_loss(torch) -> None:
    graph = load(build("(float[N,5] x) => (int64[2] y) { a = Mul(x, w)\n y = Shape(a) }", w=(1, 5))).graph
    with pytest.raises(ModelError, match="no floating-point output depends on weights"):
        Differentiable.of(graph, {"x": np.ones((2, 5), np.float32)}, [np.array([2, 5])])


def test_what_weighs_nothing_and_what_is_not_finite_is_refused(torch) -> None:
    x, labels = np.ones((2, 5), np.float32), np.array([0, 1])
    graph = load(build(PRODUCT, w=(5, 4))).graph
    by = Differentiable.of(graph, {"x": x}, [x @ graph.array("w")])
    with pytest.raises(UsageError, match="no sample counts in the loss"):
        by.gradient([({"x": x}, labels, np.zeros(2))])
    rooted = load(build("(float[N,5] x) => (float[N,5] y) { a = Mul(x, w)\n y = Sqrt(a) }", w=np.zeros((1, 5)))).graph
    with pytest.raises(ModelError, match="gradient by 'w' is not finite"):
        zero = np.zeros((2, 5), np.float32)
        Differentiable.of(rooted, {"x": x}, [zero]).gradient([({"x": x}, zero + 1, np.ones(2))])


def test_a_missing_second_derivative_is_one_sentence(torch, monkeypatch) -> None:
    import torch as pytorch

    from spa_cli.gradients.operators import TABLE

    class Slope(pytorch.autograd.Function):
        @staticmethod
        def forward(ctx, g):
            return g.clone()

        @staticmethod
        def backward(ctx, g):
            raise RuntimeError("derivative for aten::once is not implemented")

    class Once(pytorch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return Slope.apply(g)

    x, labels = np.ones((2, 5), np.float32), np.array([0, 1])
    graph = load(build("(float[N,5] x) => (float[N,4] y) { a = MatMul(x, w)\n y = Mish(a) }", w=(5, 4))).graph
    monkeypatch.setitem(TABLE, ("", "Mish"), lambda call, x: Once.apply(x))
    by = Differentiable.of(graph, {"x": x}, [x @ graph.array("w")])
    with pytest.raises(ModelError, match=r"no second derivative in torch .*; use a criterion of first order"):
        by.hessian_gradient([({"x": x}, labels, np.ones(2))])
