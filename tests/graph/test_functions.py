"""Local functions that call each other: how much they are once every call is written out."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

import spa_cli
from spa_cli.errors import ModelError
from spa_cli.graph.functions import _NODE, written_out
from tests.builders import build


def doubling(count: int, last: str = "Neg") -> onnx.ModelProto:
    """The first function is a node, and each of the others the one before it, twice."""
    model = build(
        "(float[N,5] x) => (y) { a = MatMul(x, w)\n r = Relu(a)\n m = MatMul(r, v)\n y = Neg(m) }", w=(5, 8), v=(8, 3)
    )
    opsets = [helper.make_opsetid("", model.opset_import[0].version), helper.make_opsetid("own", 1)]
    domains = {"Neg": "", **{f"F{at}": "own" for at in range(count)}}

    def call(name: str, given: str, made: str) -> onnx.NodeProto:
        return helper.make_node(name, [given], [made], domain=domains[name])

    for at in range(count):
        nodes = [call(last, "a", "b")] if at == 0 else [call(f"F{at - 1}", *ends) for ends in (("a", "t"), ("t", "b"))]
        model.functions.append(helper.make_function("own", f"F{at}", ["a"], ["b"], nodes, opsets))
    model.opset_import.append(opsets[1])
    model.graph.node[-1].CopyFrom(call(f"F{count - 1}", "m", "y"))
    model.ir_version = 8
    return model


@pytest.mark.parametrize("count", [1, 2, 10])
def test_every_call_counts(count) -> None:
    # a call counts beside what it calls
    assert written_out(doubling(count)) == (2 + 3 * 2 ** (count - 1)) * _NODE
    assert [n.op for n in spa_cli.inspect(doubling(count)).graph.nodes].count("Neg") == 2 ** (count - 1)


def test_what_no_file_holds_is_refused_before_it_is_written_out() -> None:
    said = (
        r"^the local functions of 'model' take more than 1.9 GB once every call is written out; export the model witho"
    )
    with pytest.raises(ModelError, match=said):
        spa_cli.inspect(doubling(60))


def test_what_calls_itself_is_the_inliner_s_to_say() -> None:
    model = doubling(3, "F2")
    assert written_out(model) == 0
    with pytest.raises(ModelError, match=r"^the local functions of 'model' can't be inlined: .*ecursi"):
        spa_cli.inspect(model)
