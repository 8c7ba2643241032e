"""A rule that fails on a malformed node freezes what the node touches, and says which node and with what attributes."""

from __future__ import annotations

import logging

import pytest

from spa_cli.analysis import Analysis, analyse_model
from spa_cli.channels.state import Decline
from spa_cli.errors import CutError, ModelError
from spa_cli.graph import guard
from spa_cli.graph.guard import described, guarded
from spa_cli.operators import record_of
from spa_cli.runtime.load import load
from tests.builders import build


@pytest.fixture
def as_for_users(monkeypatch) -> None:
    """Without what makes tests fail where a rule does."""
    monkeypatch.setattr(guard, "STRICT", False)


def _analysed(text, **weights) -> Analysis:
    return analyse_model(load(build(text, **weights)), {})


# two layers, between them a Gather with a position that there is not; a third one beside
OUTSIDE = """(float[N,5] x) => (y, z) {
  a = MatMul(x, wa)
  g = Gather<axis=1>(a, order)
  y = MatMul(g, wb)
  b = MatMul(x, wc)
  z = MatMul(b, wd)
}"""
WEIGHTS = {"wa": (5, 6), "order": [3, 1000, 5], "wb": (3, 2), "wc": (5, 8), "wd": (8, 2)}


def test_what_the_node_touches_is_frozen_and_nothing_else(as_for_users) -> None:
    found = _analysed(OUTSIDE, **WEIGHTS)
    assert sorted({m.tensor for g in found.grouping.groups for m in g.members}) == ["wc", "wd"]
    (reason,) = {f.reason for f in found.grouping.frozen if f.tensor == "wb" and f.axis == 0}
    assert reason.node == "Gather_g"
    assert reason.text.startswith(
        "Gather (2 inputs, axis=1) can't be followed: IndexError, index 1000 is out of bounds"
    )


def test_from_then_on_no_rule_is_known_for_the_node(as_for_users) -> None:
    found = _analysed("(float[N,5] x) => (float[N,4] y) { y = Gemm(s, wy) }", s=(), wy=(6, 4))
    (node,) = found.graph.nodes
    # its axes were declined by its rule, its products were not counted
    assert record_of(node).contracts is None or found.costs.nodes == []
    assert found.costs.macs == 0


def test_a_cost_that_fails_is_none(as_for_users) -> None:
    found = _analysed("(float[N,5] x) => (y) { a = MatMul(x, wa) y = MatMul(a, wb) }", wa=(5, 6), wb=(6, 3))
    (first, second) = found.costs.nodes
    assert not first.faults
    with pytest.raises(Decline), guarded(second, Decline, lasting=True):
        raise KeyError("k")
    assert record_of(second).contracts is None
    assert record_of(first).contracts is not None


def test_tests_see_what_users_do_not() -> None:
    assert guard.STRICT
    with pytest.raises(IndexError):
        _analysed(OUTSIDE, **WEIGHTS)


def test_what_was_meant_passes(as_for_users) -> None:
    (node,) = _analysed("(float[N,5] x) => (y) { y = Relu(x) }").graph.nodes
    for meant in (Decline("no"), CutError("no"), ModelError("no"), MemoryError("no")):
        with pytest.raises(type(meant), match="no"), guarded(node, Decline):
            raise meant
    assert not node.faults


def test_the_log_has_the_traceback(as_for_users, caplog) -> None:
    (node,) = _analysed("(float[N,5] x) => (y) { y = Relu(x) }").graph.nodes
    with (
        caplog.at_level(logging.DEBUG, "spa_cli"),
        pytest.raises(Decline, match=r"Relu .1 input. can't be followed: ZeroDivisionError, division by zero"),
        guarded(node, Decline),
    ):
        1 / 0  # noqa: B018
    assert caplog.records[-1].exc_info is not None
    assert "Relu_y" in caplog.text


def test_a_node_in_a_few_words() -> None:
    many = ", ".join(f"a{i}={i}" for i in range(9))
    graph = load(build(f"(float[N,5] x) => (float[N,5] y) {{ y = q.Op<{many}>(x, x) }}", domains={"q": 1})).graph
    assert described(graph.nodes[0]) == "Op (2 inputs, a0=0, a1=1, a2=2, a3=3, a4=4, ...)"
    long = ",".join(["7"] * 40)
    graph = load(build(f"(float[N,5] x) => (float[N,5] y) {{ y = q.Op<a=[{long}]>(x) }}", domains={"q": 1})).graph
    assert described(graph.nodes[0]) == "Op (1 input, a=[7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, ...)"
