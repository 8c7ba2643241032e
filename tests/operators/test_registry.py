"""The table of operators."""

import math

import numpy as np
import onnx
import pytest

from spa_cli.channels.state import Decline
from spa_cli.graph.view import build as view
from spa_cli.operators import record_of, records, shape_rules
from spa_cli.operators.registry import FROZEN, output_axes
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
    integer_kernels = {n for d, n in records() if d == "" and (n.startswith("Q") or "Quantize" in n or "MatMul" in n)}
    missing = {n for d, n in records() if d == ""} - known - experimental - integer_kernels
    # an older onnx does not know the newest operators yet
    assert missing <= {"Scatter", "CumProd"}


def test_no_operator_is_registered_without_a_docstring() -> None:
    assert all(record.relate.__doc__ for record in records().values())


def test_an_unknown_operator_declines_with_its_name() -> None:
    model = build("(float[N,5] x) => (float[N,5] y) { y = odd.Thing(x) }", domains={"odd": 1})
    (node,) = view(model, "").nodes
    with pytest.raises(Decline, match="spa has no rule for operator odd::Thing"):
        record_of(node).relate(node, None)


def test_the_same_name_in_another_domain_is_another_operator() -> None:
    model = build("(float[N,5] x) => (float[N,5] y) { y = odd.Relu(x) }", domains={"odd": 1})
    (node,) = view(model, "").nodes
    assert record_of(node).behaviour == FROZEN


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


def _nodes(text, **weights):
    return view(build(text, domains={"com.microsoft": 1}, **weights), "").nodes


def test_labels_respect_attributes() -> None:
    gemm, mul, group = _nodes(
        "(float[5,N] x, float[2,8,9] z) => (a, b, c) { a = Gemm<transA=1, transB=1>(x, w)  b = MatMul(x, v) "
        " c = Conv<group=4>(z, k) }",
        w=(6, 5),
        v=(5,),
        k=(4, 2, 3),
    )
    labels = [record_of(n).contracts.labels(n, ranks) for n, ranks in ((gemm, (2, 2)), (mul, (2, 1)), (group, (3, 3)))]
    assert labels[0].terms == (("k", "m"), ("n", "k"))
    assert labels[1].result == ("m",)
    assert labels[2].terms[1] == ("g m", "c", "k0")
    assert output_axes(gemm, "w", 2) == [0]
    assert output_axes(group, "k", 3) == [0]
    assert output_axes(group, "z", 3) == [0]
    assert output_axes(gemm, "elsewhere", 2) == []


def test_every_contraction_can_be_counted() -> None:
    for (_, name), record in records().items():
        assert record.counted == (record.contracts is not None or record.cost is not None), name
        assert record.contracts is None or record.cost is None, name


def test_operators_that_onnx_has_no_schema_for_give_their_shapes() -> None:
    schemas = {(s.domain, s.name) for s in onnx.defs.get_all_schemas_with_history()}
    extends = {rule for rule in shape_rules().values() if isinstance(rule, str)}
    assert extends <= {name for domain, name in schemas if not domain}
    (node,) = _nodes("(float[N,7,5] x) => (y) { y = com.microsoft.FusedMatMul<transB=1>(x, w) }", w=(6, 5))
    assert shape_rules()[node.domain, node.op](node, [(1, 7, 5), (6, 5)]) == [(1, 7, 6)]


def test_what_activations_no_longer_tell_apart() -> None:
    bounds = {"low": np.float32(-1), "high": np.float32(2)}
    nodes = _nodes(
        "(float[N] x, float low, float high, float other) => (a, b, c, d, e) {"
        "  a = Relu(x)  b = HardSigmoid<alpha=0.5>(x)"
        "  c = Clip(x, low, high)  d = Clip(x, , other)  e = Sigmoid(x) }"
    )
    flats = [record_of(n).flat for n in nodes]
    found = [flat(n, bounds.get) if flat else "none" for n, flat in zip(nodes, flats, strict=True)]
    assert found == [(0, math.inf), (-1, 1), (-1, 2), None, "none"]
