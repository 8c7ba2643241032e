"""Weights that are graph inputs too."""

import onnx
import pytest

from spa_cli.runtime.load import load
from spa_cli.tidy.optional_inputs import by_habit, untidy
from spa_cli.tidy.steps import tidied
from tests.builders import build, with_initializer_inputs
from tests.tidy.same import tidy, weights


def listed(ir: int = 8) -> onnx.ModelProto:
    model = build("(float[N,5] x) => (y) { a = MatMul(x, wa)\n r = Relu(a)\n y = MatMul(r, wb) }", wa=(5, 8), wb=(8, 3))
    listed = with_initializer_inputs(model)
    listed.ir_version = ir
    return listed


@pytest.mark.parametrize("ir", [3, 4, 8])
def test_they_leave_the_inputs_and_keep_their_values(ir) -> None:
    small = tidy(listed(ir), ["inputs"])
    assert [v.name for v in small.graph.input] == ["x"]
    assert weights(small) == {"wa", "wb"}
    assert small.ir_version == max(ir, 4)


def test_it_is_said() -> None:
    source = tidied(load(listed()), ["inputs"])
    assert source.warnings == ["2 weights were also inputs, were taken off, and can no longer be fed"]
    assert source.tidied == {"inputs": 2}


def test_where_they_cost_time_that_is_said_first() -> None:
    assert untidy(load(listed())) == (
        "2 weights are also inputs, so that onnxruntime may neither fold nor fuse them and can be several times "
        "slower; --tidy takes them off the inputs"
    )
    # before IR 4 they had to be, and onnxruntime takes them for constants
    assert untidy(load(listed(3))) == ""
    assert untidy(load(build("(float[N,5] x) => (y) { y = MatMul(x, wa) }", wa=(5, 8)))) == ""


def test_what_an_author_lists_is_no_habit_of_an_exporter() -> None:
    model = listed()
    assert by_habit(load(model))
    assert not by_habit(load(listed(3))), "before IR 4 nothing is gained"
    # what may well be fed: the smaller of the two
    assert [v.name for v in model.graph.input] == ["x", "wa", "wb"]
    del model.graph.input[1]
    assert untidy(load(model)).startswith("1 weight is also an input, ") and not by_habit(load(model))
    del model.graph.input[1:]
    assert not by_habit(load(model))


def test_a_default_that_may_be_fed_is_no_constant() -> None:
    text = "(float[N,4] x) => (y) { s = Neg(w)\n y = Add(x, s) }"
    model = with_initializer_inputs(build(text, w=(4,)))
    model.ir_version = 8
    assert len(tidy(model, ["constants"]).graph.node) == 2
    assert len(tidy(model, ["inputs", "constants"]).graph.node) == 1
