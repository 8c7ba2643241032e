"""BatchNormalization behind a layer."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from spa_cli.tidy.steps import with_norms_folded
from tests.builders import build, positive
from tests.graph.files import save_external
from tests.tidy.same import left, norms, same, weights


def norm_of(count, dtype=np.float32) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(count)
    found = {
        "s": positive(count),
        "o": rng.standard_normal(count),
        "m": rng.standard_normal(count),
        "v": positive(count),
    }
    return {name: value.astype(dtype) for name, value in found.items()}


CONV = "(float[N,4,6,6] x) => (y) { a = LAYER\n n = BatchNormalization(a, s, o, m, v)\n y = Relu(n) }"
GEMM = "(float[N,5] x) => (y) { a = LAYER\n n = BatchNormalization(a, s, o, m, v)\n y = Relu(n) }"
CASES = [
    (CONV, "Conv(x, w)", 6, {"w": (6, 4, 3, 3)}, {"w", "n_bias"}),
    (CONV, "Conv(x, w, b)", 6, {"w": (6, 4, 3, 3), "b": (6,)}, {"w", "b"}),
    (CONV, "Conv<group=2, pads=[1,1,1,1]>(x, w, b)", 6, {"w": (6, 2, 3, 3), "b": (6,)}, {"w", "b"}),
    (CONV, "ConvTranspose(x, w, b)", 6, {"w": (4, 6, 3, 3), "b": (6,)}, {"w", "b"}),
    (CONV, "ConvTranspose<group=2>(x, w)", 6, {"w": (4, 3, 3, 3)}, {"w", "n_bias"}),
    (GEMM, "Gemm(x, w, b)", 6, {"w": (5, 6), "b": (6,)}, {"w", "b"}),
    (GEMM, "Gemm<transB=1, alpha=0.5, beta=2.0>(x, w, b)", 6, {"w": (6, 5), "b": (1, 6)}, {"w", "b"}),
    (GEMM, "Gemm(x, w)", 6, {"w": (5, 6)}, {"w", "n_bias"}),
]


@pytest.mark.parametrize("opset", [9, 14, 15, 20])
@pytest.mark.parametrize(("text", "layer", "count", "given", "stored"), CASES)
def test_it_is_folded(text, layer, count, given, stored, opset) -> None:
    if opset < 11 and layer == "Gemm(x, w)":
        pytest.skip("Gemm has its third input")
    small, folded = norms(build(text.replace("LAYER", layer), opset, **given, **norm_of(count)))
    assert folded == 1 and left(small).keys() == {layer.split("(")[0].split("<")[0], "Relu"}
    assert weights(small) == stored


def test_a_graph_output_keeps_its_name() -> None:
    text = "(float[N,4,6,6] x) => (n) { a = Conv(x, w)\n n = BatchNormalization(a, s, o, m, v) }"
    small, folded = norms(build(text, w=(6, 4, 3, 3), **norm_of(6)))
    assert folded == 1 and small.graph.output[0].name == "n"


def test_one_behind_another() -> None:
    text = """(float[N,4,6,6] x) => (y) {
      a = Conv(x, w)
      n = BatchNormalization(a, s, o, m, v)
      k = BatchNormalization(n, s, o, m, v)
      y = Relu(k)
    }"""
    small, folded = norms(build(text, w=(6, 4, 3, 3), **norm_of(6)))
    assert folded == 2 and left(small) == {"Conv": 1, "Relu": 1}


def test_half_precision() -> None:
    given = {"w": (np.ones((6, 4, 1, 1)) / 8).astype(np.float16), **norm_of(6, np.float16)}
    small, folded = norms(build(CONV.replace("float[", "float16[").replace("LAYER", "Conv(x, w)"), **given), rtol=5e-2)
    assert folded == 1
    assert {t.data_type for t in small.graph.initializer} == {onnx.TensorProto.FLOAT16}
    given["s"] = np.full(6, 6e4, np.float16)
    given["v"] = np.full(6, 1e-5, np.float16)
    model = build(CONV.replace("float[", "float16[").replace("LAYER", "Conv(x, w)"), **given)
    assert with_norms_folded(model, "")[1] == 0, "there is no room for what it would be"


def test_a_bias_that_others_have_too_is_left_to_them() -> None:
    text = """(float[N,4,6,6] x) => (y) {
      a = Conv(x, w, b)
      n = BatchNormalization(a, s, o, m, v)
      c = Conv(n, u, b)
      y = Relu(c)
    }"""
    small, folded = norms(build(text, w=(6, 4, 1, 1), u=(6, 6, 1, 1), b=(6,), **norm_of(6)))
    assert folded == 1 and weights(small) == {"w", "u", "b", "n_bias"}


LEFT = {
    "a weight that another layer has": """
      a = Conv(x, w)
      n = BatchNormalization(a, s, o, m, v)
      c = Conv(x, w)
      y = Add(n, c)""",
    "a layer that another node reads": """
      a = Conv(x, w)
      n = BatchNormalization(a, s, o, m, v)
      y = Add(a, n)""",
    "a norm that is not behind a layer": """
      a = Conv(x, w)
      r = Relu(a)
      y = BatchNormalization(r, s, o, m, v)""",
    "a scale that is worked out": """
      a = Conv(x, w)
      t = Neg(s)
      y = BatchNormalization(a, t, o, m, v)""",
    "a weight that is worked out": """
      t = Neg(w)
      a = Conv(x, t)
      y = BatchNormalization(a, s, o, m, v)""",
}


@pytest.mark.parametrize("body", LEFT.values(), ids=LEFT)
def test_it_stays_behind(body) -> None:
    small, folded = norms(build(f"(float[N,4,6,6] x) => (y) {{ {body} }}", w=(6, 4, 3, 3), **norm_of(6)))
    assert folded == 0 and left(small)["BatchNormalization"] == 1


def test_a_body_that_reads_the_layer_keeps_it() -> None:
    text = """(bool c, float[1,4,6,6] x) => (float[1,6,4,4] y, float[1,6,4,4] n) {
      a = Conv(x, w)
      n = BatchNormalization(a, s, o, m, v)
      y = If (c) <
        then_branch = t () => (float[1,6,4,4] p) { p = Neg(a) },
        else_branch = e () => (float[1,6,4,4] q) { q = Exp(a) }
      >
    }"""
    assert norms(build(text, w=(6, 4, 3, 3), **norm_of(6)))[1] == 0


def test_a_norm_that_trains_stays() -> None:
    text = "(float[N,4,6,6] x) => (n) { a = Conv(x, w)\n n, p, q = BatchNormalization<training_mode=1>(a, s, o, m, v) }"
    assert norms(build(text, w=(6, 4, 3, 3), **norm_of(6)))[1] == 0


def test_weights_beside_the_model_are_read_there(tmp_path) -> None:
    model = build(CONV.replace("LAYER", "Conv(x, w)"), w=(6, 4, 3, 3), **norm_of(6))
    path = save_external(model, tmp_path / "m.onnx")
    small, folded = with_norms_folded(onnx.load(path, load_external_data=False), str(tmp_path))
    assert folded == 1
    assert numpy_helper.to_array(small.graph.initializer[0]).shape == (6, 4, 3, 3)
    same(model, small, 1e-5)
