"""Who reads a tensor."""

from __future__ import annotations

from spa_cli.runtime.load import load
from tests.builders import build

MODEL = """(float[N,4] x) => (y, s) {
  a = MatMul(x, wa)
  s = Shape(a)
  r = Relu(a)
  y = MatMul(r, wy)
}"""


def test_readers_of_values_and_of_shapes() -> None:
    graph = load(build(MODEL, wa=(4, 5), wy=(5, 3))).graph
    assert [n.op for n in graph.readers("a")] == ["Relu"]
    assert graph.only_reader("a").op == "Relu"
    # a change of its width would be noticed by two
    assert graph.only_consumer("a") is None
    assert graph.only_consumer("r").op == "MatMul"
    assert graph.only_reader("y") is None
    assert graph.only_consumer("y") is None
    assert graph.readers("nothing") == []
