"""The two networks of a repair: what is the same in both."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import pytest

from spa_cli.channels.selection import Selection
from spa_cli.obspa.positions import Positions
from spa_cli.obspa.sides import Sides
from spa_cli.runtime.interpreter import Interpreter
from tests.builders import analysed, build

NETWORK = """(float[N,16] x) => (y) {
  a = MatMul(x, wa)
  b = Relu(a)
  c = MatMul(b, wc)
  d = Relu(c)
  y = MatMul(d, wy)
}"""


def sides(samples: int = 3) -> Sides:
    """Four channels of ``c`` are gone."""
    analysis = analysed(build(NETWORK, wa=(16, 8), wc=(8, 12), wy=(12, 4)))
    index = next(
        i for i, g in enumerate(analysis.grouping.groups) if any(m.tensor == "wc" and m.axis == 1 for m in g.members)
    )
    selection = Selection(analysis.grouping)
    selection.keep(index, np.arange(12) >= 4)
    work = analysis.cut(selection)
    rng = np.random.default_rng(0)
    chunks = [{"x": rng.normal(size=(2, 16)).astype(np.float32)} for _ in range(samples)]
    graph = analysis.graph
    dense, pruned = (Interpreter(m, graph.folder, chunks) for m in (graph.model, work.model))
    both = Sides(graph, work, dense, pruned, Positions(0))
    for node in graph.nodes:
        both.run_dense(node)
        pruned.run(pruned.node(node))
    return both


def no_run(*args: Any) -> NoReturn:
    raise AssertionError("it was run")


@pytest.mark.parametrize("name", ["x", "a", "b"])
def test_what_nothing_was_cut_or_fitted_before_is_not_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    both = sides()
    monkeypatch.setattr(Interpreter, "peek", no_run)
    assert both.same(name)


@pytest.mark.parametrize("name", ["c", "d", "y"])
def test_what_a_cut_has_changed_is_not_the_same(name: str) -> None:
    both = sides()
    assert both.same("b")
    assert not both.same(name)


def test_what_was_fitted_is_not_the_same() -> None:
    both = sides()
    wa = both.pruned.parameter("wa")
    assert wa is not None
    both.pruned.write("wa", wa + 1)
    assert both.same("x")
    assert not both.same("b")


def test_what_gives_the_same_whatever_was_written_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    both = sides()
    wa = both.pruned.parameter("wa")
    assert wa is not None
    both.pruned.write("wa", wa.copy())
    looked_at = list[int]()
    peek = Interpreter.peek

    def counted(self: Interpreter, names: list[str], chunk: int, *more: Any) -> list[Any]:
        looked_at.append(chunk)
        return peek(self, names, chunk, *more)

    monkeypatch.setattr(Interpreter, "peek", counted)
    assert both.same("b")
    assert looked_at == [0, 0, 1, 1, 2, 2]
    looked_at.clear()
    assert not both.same("d")
    # one piece that differs is enough
    assert looked_at == [0, 0]
