"""What nobody reads."""

from onnx import TensorProto, helper

from tests.builders import build
from tests.tidy.same import left, tidy, weights


def test_nodes_and_weights_go_and_what_is_said_of_them() -> None:
    text = """(float[4] x, float[4] unread) => (float[4] y) {
      y = Add(x, w)
      a = Mul(x, u)
      b = Neg(a)
    }"""
    model = build(text, w=(4,), u=(4,), t=(4,))
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [4]))
    small = tidy(model, ["unused"])
    assert left(small) == {"Add": 1} and weights(small) == {"w"} and not small.graph.value_info


def test_what_a_body_or_an_annotation_names_stays() -> None:
    text = """(bool c, float[4] x) => (float[4] y) {
      a = Mul(x, u)
      y = If (c) <
        then_branch = t () => (float[4] o) { o = Neg(a) },
        else_branch = e () => (float[4] p) { p = Add(x, w) }
      >
    }"""
    model = build(text, w=(4,), u=(4,), scale=(1,))
    annotation = model.graph.quantization_annotation.add(tensor_name="a")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="scale")
    small = tidy(model, ["unused"])
    assert weights(small) == {"w", "u", "scale"} and len(small.graph.node) == 2
