"""What onnxruntime lacks of a model is found node by node; the rest runs as one graph."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from spa_cli.runtime.lacking import lacking
from spa_cli.runtime.part import Part, part_of
from tests.builders import analysed, build
from tests.plugins import beside, declared, in_no_domain


def _lacking(model) -> list[str]:
    analysis = analysed(model)
    return [n.label for n in lacking(analysis.graph, analysis.state.shapes)]


def _part(model, moving=()) -> Part | None:
    analysis = analysed(model)
    missing = lacking(analysis.graph, analysis.state.shapes)
    return part_of(analysis.graph, analysis.state.shapes, analysis.input_shapes, missing, moving)


INSIDE = """(float[N,5] x, bool c) => (float[N,4] y) {
  a = MatMul(x, w1)
  s = If(c) <then_branch = one () => (float[N,6] u) { u = own.Plug(a) },
             else_branch = other () => (float[N,6] v) { v = Relu(a) }>
  y = MatMul(s, w2)
}"""
INDICES = """(float[N,5] x) => (float[N,4] y) {
  a = MatMul(x, w1)
  i = own.Pick(a)
  e = Gather(table, i)
  y = MatMul(e, w2)
}"""
LISTS = """(float[N,5] x) => (float[N,4] y) {
  l = SequenceConstruct(x, x)
  j = ConcatFromSequence<axis=1>(l)
  y = MatMul(j, w1)
}"""


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(beside(), ["Plug_p"], id="a plugin"),
        pytest.param(in_no_domain(beside()), ["Plug_p"], id="in the standard domain"),
        pytest.param(build(INSIDE, domains={"own": 1}, w1=(5, 6), w2=(6, 4)), ["If_s"], id="in a body"),
        pytest.param(build(LISTS, w1=(10, 4)), [], id="lists of tensors"),
        pytest.param(
            build("(float[N,5] x) => (float[N,6] y) { y = own.Plug(x, w) }", domains={"own": 1}, w=(5, 6)),
            ["Plug_y"],
            id="the only node",
        ),
        # the kernel wants the scale as a constant
        pytest.param(
            build(
                "(float[1,1,4,4] x) => (float[1,1,8,8] y) { y = Upsample(x, s) }", opset=9, s=np.float32([1, 1, 2, 2])
            ),
            [],
            id="a kernel that wants a constant",
        ),
    ],
)
def test_what_is_lacking(model, expected) -> None:
    assert _lacking(model) == expected


def test_equal_nodes_are_asked_once(monkeypatch) -> None:
    from spa_cli.runtime import lacking as module

    asked = []
    monkeypatch.setattr(module, "_opens", lambda model: (asked.append(model.graph.node[0].op_type), True)[1])
    text = "\n".join(f"a{i + 1} = Relu(a{i})" for i in range(20))
    analysis = analysed(build(f"(float[N,5] a0) => (float[N,3] y) {{ {text}\n y = MatMul(a20, w) }}", w=(5, 3)))
    assert lacking(analysis.graph, analysis.state.shapes) == []
    assert asked == ["Relu", "MatMul"]


def test_the_rest_runs_as_one_graph() -> None:
    model = beside()
    part = _part(model)
    assert part is not None
    assert part.left_out == ("Plug_p",)
    assert {n: v.shape for n, v in part.feeds.items()} == {"x": (1, 3, 8, 8), "p": (1, 6, 8, 8)}
    found = part.run(model)
    assert {n: v.shape for n, v in found.items()} == {"y": (1, 4), "c": (1, 6, 8, 8)}
    # what comes behind the plugin is made of what stands in for it
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    again = part.run(model)
    np.testing.assert_array_equal(again["y"], found["y"])
    assert not np.array_equal(again["c"], found["c"])


@pytest.mark.parametrize(
    ("model", "moving", "left_out", "fetched"),
    [
        pytest.param(beside(q=["N"]), (), 6, {"c"}, id="no shape"),
        pytest.param(beside(p=[None, 6, 8, 8]), (), 6, {"c"}, id="a size unknown"),
        pytest.param(beside(), ("p",), 2, {"c", "y"}, id="channels that may go"),
        pytest.param(beside(), ("c",), 1, {"y"}, id="fetched channels that may go"),
        pytest.param(build(INSIDE, domains={"own": 1}, w1=(5, 6), w2=(6, 4)), (), 1, {"y"}, id="a body reads it"),
    ],
)
def test_what_can_not_be_fed_is_left_out(model, moving, left_out, fetched) -> None:
    part = _part(model, moving)
    assert part is not None
    assert len(part.left_out) == left_out
    assert part.run(model).keys() == fetched


def test_integers_that_are_fed_are_valid_indices() -> None:
    model = declared(build(INDICES, domains={"own": 1}, w1=(5, 6), table=(3, 8), w2=(8, 4)))
    model.graph.value_info.append(helper.make_tensor_value_info("i", 7, ["N"]))
    part = _part(model)
    assert part is not None
    assert part.feeds["i"].dtype == np.int64
    assert part.run(model)["y"].shape == (1, 4)


def test_nothing_may_be_left() -> None:
    model = build("(float[N,5] x) => (float[N,6] y) { y = own.Plug(x, w) }", domains={"own": 1}, w=(5, 6))
    assert _part(model) is None
