"""What can't be followed keeps what it touches, and only that, and says why."""

import onnx
import pytest

from tests.builders import build, frozen, groups
from tests.equivalence import assert_groups

AROUND = """(float[N,5] x) => (float[N,4] y) {{
  a = Gemm(x, wa)
  b = Gemm(a, wb)
  {node}
  d = Gemm(c, wd)
  y = Gemm(d, wy)
}}"""
WEIGHTS = {"wa": (5, 6), "wb": (6, 7), "wd": (7, 8), "wy": (8, 4)}


def around(node, **more) -> onnx.ModelProto:
    return build(AROUND.format(node=node), **WEIGHTS, **more)


@pytest.mark.parametrize(
    "batch",
    [1, "N"],
)
def test_an_unknown_operator_freezes_only_what_touches_it(batch) -> None:
    model = around("c = my.domain.Twist(b)", domains={"my.domain": 1})
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, [batch, 7]))
    assert groups(model) == ["6: wa:1 wb:0", "8: wd:1 wy:0"]
    assert frozen(model)["wb:1"] == "spa has no rule for operator my.domain::Twist"


def test_an_unknown_operator_with_an_unknown_result_freezes_what_follows() -> None:
    model = around("c = my.domain.Twist(b)", domains={"my.domain": 1})
    assert groups(model) == ["6: wa:1 wb:0"]
    reasons = frozen(model)
    assert reasons["wb:1"] == "spa has no rule for operator my.domain::Twist"
    assert "'c'" in reasons["wd:0"]


def test_a_weight_behind_an_unknown_operator() -> None:
    model = build(
        "(float[N,5] x) => (float[N,4] y) { w = my.domain.Twist(wa)  a = MatMul(x, w)  y = MatMul(a, wy) }",
        domains={"my.domain": 1},
        wa=(5, 6),
        wy=(6, 4),
    )
    assert groups(model) == []
    assert frozen(model)["wa:1"] == "spa has no rule for operator my.domain::Twist"


@pytest.mark.parametrize(
    "node",
    ["c = com.microsoft.QuickThing(b)", "c = com.microsoft.GatedAdd(b, b, b)"],
)
def test_unfollowed_contrib_operators(node) -> None:
    model = around(node, domains={"com.microsoft": 1})
    assert "6: wa:1 wb:0" in groups(model)
    assert "wb:1" in frozen(model)


def test_optional_tensors_do_not_stop_the_analysis() -> None:
    model = build(
        """(float[N,5] x) => (float[N,4] y) {
          a = Gemm(x, wa)
          b = Gemm(a, wb)
          o = Optional(b)
          c = OptionalGetElement(o)
          d = Gemm(c, wd)
          y = Gemm(d, wy)
        }""",
        **WEIGHTS,
    )
    assert "6: wa:1 wb:0" in groups(model)
    assert frozen(model)["wb:1"] == "what Optional holds is not followed"


def test_an_output_keeps_its_channels_and_not_those_before() -> None:
    model = build(
        """(float[N,5] x) => (y, b) {
          a = Gemm(x, wa)
          b = Gemm(a, wb)
          c = Relu(b)
          d = Gemm(c, wd)
          y = Gemm(d, wy)
        }""",
        **WEIGHTS,
    )
    reason = "graph output 'b' keeps its shape"
    assert_groups(model, ["6: wa:1 wb:0", "8: wd:1 wy:0"], {"wb:1": reason, "wd:0": reason})


def test_a_weight_nothing_reads_is_no_group() -> None:
    model = build("(float[N,5] x) => (y) { a = Gemm(x, wa)  y = Gemm(a, wy) }", wa=(5, 6), wy=(6, 4), lost=(3, 3))
    assert groups(model) == ["6: wa:1 wy:0"]
    assert frozen(model)["lost:0"] == "is not used by any operator"


def test_a_weight_that_is_an_output_stays() -> None:
    model = build("(float[N,5] x) => (y, float[5,6] wa) { a = Gemm(x, wa)  y = Gemm(a, wy) }", wa=(5, 6), wy=(6, 4))
    assert_groups(model, [], {"wa:1": "graph output 'wa' keeps its shape"})
