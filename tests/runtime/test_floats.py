"""The last floating-point tensors before classes and indices."""

from __future__ import annotations

from spa_cli.analysis import analyse_model
from spa_cli.runtime.floats import last_floats
from spa_cli.runtime.load import load
from tests.builders import build


def _of(text: str, **weights: object) -> list[str]:
    analysis = analyse_model(load(build(text, **weights)), {})
    return last_floats(analysis.graph, analysis.state.shapes)


def test_outputs_that_are_numbers_are_themselves() -> None:
    assert _of("(float[N,6] x) => (y, h) { h = MatMul(x, w)  y = Relu(h) }", w=(6, 4)) == ["y", "h"]


def test_of_classes_it_is_what_they_are_made_of() -> None:
    text = "(float[N,6] x) => (y) { h = MatMul(x, w)  c = ArgMax<axis=1>(h)  y = Cast<to=6>(c) }"
    assert _of(text, w=(6, 4)) == ["h"]


def test_inputs_and_constants_tell_nothing() -> None:
    assert _of("(float[N,6] x) => (y) { y = ArgMax<axis=1>(x)  h = MatMul(x, w) }", w=(6, 4)) == []
