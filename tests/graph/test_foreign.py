"""Operators that ONNX has no schema for are told from those it has, and read without."""

from __future__ import annotations

import onnx
import pytest

from spa_cli.errors import ModelError
from spa_cli.graph.foreign import foreign_operators, is_foreign, set_apart
from spa_cli.runtime.load import load
from tests.builders import analysed, build, groups
from tests.plugins import beside, in_no_domain

BOTH = ["12: w3:0 w4:1", "8: b1:0 w1:0 w2:1"]


def test_what_is_foreign() -> None:
    assert not is_foreign("", "Conv")
    assert not is_foreign("ai.onnx", "Conv")
    assert not is_foreign("ai.onnx.ml", "Scaler")
    assert is_foreign("", "EfficientNMS_TRT")
    assert is_foreign("own", "Conv")
    # it came with opset 17
    assert is_foreign("", "LayerNormalization", 16)
    assert not is_foreign("", "LayerNormalization", 17)


@pytest.mark.parametrize("version", [-(2**63), 2**63 - 1])
def test_versions_of_any_size(version) -> None:
    """onnx counts them in 32 bits."""
    model = build("(float[N,5] x) => (float[N,5] y) { y = Relu(x) }")
    model.opset_import[0].version = version
    assert foreign_operators(model) == (["Relu"] if version < 0 else [])
    assert set_apart(model).graph.node[0].domain == ("spa.foreign" if version < 0 else "")


def _not_imported(model) -> onnx.ModelProto:
    kept = [o for o in model.opset_import if not o.domain]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _without_a_shape(model) -> onnx.ModelProto:
    model.graph.value_info[0].type.tensor_type.ClearField("shape")
    return model


@pytest.mark.parametrize(
    ("model", "names", "found"),
    [
        pytest.param(beside(), ["own::Plug"], BOTH, id="a domain of its own"),
        pytest.param(in_no_domain(beside()), ["Plug"], BOTH, id="the standard domain"),
        pytest.param(_not_imported(beside()), ["own::Plug"], BOTH, id="a domain that is not imported"),
        pytest.param(_without_a_shape(beside()), ["own::Plug"], BOTH[1:], id="declared without a shape"),
    ],
)
def test_they_are_read_whatever_the_checker_says(model, names, found) -> None:
    assert foreign_operators(model) == names
    onnx.checker.check_model(set_apart(model))
    assert groups(model) == found
    reasons = {f.reason.text for f in analysed(model).grouping.frozen if f.tensor == "w2" and f.axis == 0}
    assert reasons == {f"spa has no rule for operator {names[0]}"}


def test_it_is_said_which_they_are() -> None:
    model = in_no_domain(beside())
    assert load(model).warnings == ["onnx has no operator Plug, and accepts the rest of this file"]
    for at in range(4):
        model.graph.node.add(op_type=f"Other{at}", input=["x"], output=[f"o{at}"])
    assert load(model).warnings == [
        "onnx has no operator Plug, Other0, Other1 and others, and accepts the rest of this file"
    ]


def test_what_is_wrong_beside_them_is_still_refused() -> None:
    model = in_no_domain(beside())
    model.graph.node[1].op_type = "Conv"
    del model.graph.node[1].attribute[:]
    model.graph.node[1].input[0] = "nowhere"
    with pytest.raises(ModelError, match="is not a valid ONNX model: Nodes in a graph must be topologically sorted"):
        load(model)
    plain = build("(float[N,5] x) => (float[N,5] y) { y = Relu(x) }")
    plain.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ModelError, match="is not a valid ONNX model"):
        load(plain)


def test_a_dimension_named_like_one_of_an_input_has_its_size() -> None:
    known = analysed(beside(p=["N", 6, 8, 8])).state.shapes
    assert known.shape["p"] == (1, 6, 8, 8)
    assert known.elsewhere["p"] == (2, 6, 8, 8)
    assert analysed(beside(p=["other", 6, 8, 8])).state.shapes.shape["p"] == (None, 6, 8, 8)
    assert "p" not in analysed(beside(q=["N"])).state.shapes.shape
