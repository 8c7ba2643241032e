"""The table of operators."""

import onnx
import pytest

from spa_cli.channels.state import Decline
from spa_cli.graph.view import build as view
from spa_cli.operators import rule_for, rules
from spa_cli.operators.registry import FROZEN
from tests.builders import analysed, build


def test_every_operator_of_the_default_domain_in_the_table_exists() -> None:
    known = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    experimental = {
        "Affine",
        "Crop",
        "Scale",
        "ImageScaler",
        "ParametricSoftplus",
        "ScaledTanh",
        "SimplifiedLayerNormalization",
    }
    integer_kernels = {n for d, n in rules() if d == "" and (n.startswith("Q") or "Quantize" in n or "MatMul" in n)}
    missing = {n for d, n in rules() if d == ""} - known - experimental - integer_kernels
    # an older onnx does not know the newest operators yet
    assert missing <= {"Scatter", "CumProd"}


def test_no_operator_is_registered_without_a_docstring() -> None:
    assert all(rule.relate.__doc__ for rule in rules().values())


def test_an_unknown_operator_declines_with_its_name() -> None:
    model = build("(float[N,5] x) => (float[N,5] y) { y = odd.Thing(x) }", domains={"odd": 1})
    (node,) = view(model, "").nodes
    with pytest.raises(Decline, match="spa has no rule for operator odd::Thing"):
        rule_for(node).relate(node, None)


def test_the_same_name_in_another_domain_is_another_operator() -> None:
    model = build("(float[N,5] x) => (float[N,5] y) { y = odd.Relu(x) }", domains={"odd": 1})
    (node,) = view(model, "").nodes
    assert rule_for(node).behaviour == FROZEN


def test_the_explicit_name_of_the_default_domain_is_the_default_domain() -> None:
    model = build("(float[N,5] x) => (y) { a = Gemm(x, wa)  r = Relu(a)  y = Gemm(r, wy) }", wa=(5, 6), wy=(6, 4))
    model.graph.node[1].domain = "ai.onnx"
    assert {g.channels for g in analysed(model).grouping.groups} == {6}


def test_what_a_rule_gives_has_to_agree_with_shape_inference() -> None:
    from spa_cli.operators.analyse import relate

    found = analysed(build("(float[N,5] x) => (y) { a = Gemm(x, wa)  y = Gemm(a, wy) }", wa=(5, 6), wy=(6, 4)))
    state, node = found.state, found.graph.nodes[0]
    state.shapes.shape["a"] = (1, 9)
    relate(state, node)
    assert "not (1, 6) as its inputs suggest" in state.declined[node.label][1]
