"""Tensors that are known to take more memory than there is."""

from __future__ import annotations

import onnx
import pytest

import spa_cli
from spa_cli.errors import ModelError
from spa_cli.runtime import room
from spa_cli.runtime.observe import observe
from spa_cli.runtime.room import too_large
from tests.builders import analysed, build

TEXT = """(float[N,5] x) => (float[N,3] y) {
  a = MatMul(x, w)
  r = Relu(a)
  m = MatMul(r, v)
  b = ConstantOfShape(size)
  e = ReduceSum<keepdims=0>(b)
  y = Add(m, e)
}"""
SAID = "'ConstantOfShape_b' gives 1000000x10000000 numbers, more than there is memory for"


def hungry(text: str = TEXT) -> onnx.ModelProto:
    return build(text, w=(5, 8), v=(8, 3), size=[10**6, 10**7])


def test_it_is_refused_before_it_is_asked_for(monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.runtime.first_run.open_session", None)
    refusal = f"^'model' can't be run here: {SAID}; give --input-shape, or run it on a larger machine$"
    for call in (lambda m: spa_cli.prune(m, ratio=0.3), lambda m: spa_cli.verify(m, m)):
        with pytest.raises(ModelError, match=refusal.replace("--input-shape", "input_shape")):
            call(hungry())


def test_without_a_run_it_can_still_be_seen_and_cut() -> None:
    assert spa_cli.inspect(hungry()).grouping.groups
    result = spa_cli.prune(hungry(), ratio=0.3, run=False)
    assert result.plan.about["not_verified"][-1] == f"that removing equals zeroing: {SAID}"


def test_what_is_not_worked_out_takes_nothing() -> None:
    analysis = analysed(hungry(TEXT.replace("Add(m, e)", "Neg(m)")))
    assert too_large(analysis.graph, analysis.state.shapes) == ""


def test_it_is_the_machine_s_memory_and_the_type_that_count(monkeypatch) -> None:
    analysis = analysed(build(TEXT, w=(5, 8), v=(8, 3), size=[100, 25]))
    said = "'ConstantOfShape_b' gives 100x25 numbers, more than there is memory for"
    for memory, found in ((10_000, ""), (9_999, said)):
        monkeypatch.setattr(room, "whole_memory", lambda memory=memory: memory)
        assert too_large(analysis.graph, analysis.state.shapes) == found


def test_shapes_are_not_looked_for_in_what_has_no_room(monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.runtime.observe.open_session", None)
    analysis = analysed(hungry())
    known = analysis.state.shapes
    known.unknown["m"] = analysis.graph.producers["m"]
    assert observe(analysis.graph, known, analysis.input_shapes) == {}
    monkeypatch.setattr("spa_cli.runtime.observe.too_large", lambda *_: "")
    monkeypatch.setattr("spa_cli.runtime.observe.probe", lambda *_, **__: pytest.fail("it was run"))
    with pytest.raises(pytest.fail.Exception):
        observe(analysis.graph, known, analysis.input_shapes)
