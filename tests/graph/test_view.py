"""Reading a graph: nodes in order, whatever order they are stored in."""

from __future__ import annotations

import pytest

from spa_cli.errors import ModelError
from spa_cli.graph.view import build
from tests import builders

TEXT = "(float[N,5] x) => (float[N,5] y) { a = Relu(x) b = Abs(a) y = Neg(b) }"


def test_nodes_are_put_in_order() -> None:
    model = builders.build(TEXT)
    nodes = [*model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    assert [n.op for n in build(model, "").nodes] == ["Relu", "Abs", "Neg"]


def test_nodes_in_a_circle_are_refused() -> None:
    model = builders.build(TEXT)
    model.graph.node[0].input[0] = "b"
    with pytest.raises(ModelError, match=r"^nodes of the graph 'graph' read each other's results in a circle; export"):
        build(model, "")
