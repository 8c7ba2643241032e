"""Tensors inside a model, as outputs of a copy."""

from __future__ import annotations

import numpy as np

from spa_cli.runtime.probe import probe
from spa_cli.runtime.session import open_session
from tests.builders import build

MODEL = """(float[2,4] x) => (y) {
  a = MatMul(x, wa)
  r = Relu(a)
  y = MatMul(r, wy)
}"""


def test_inner_tensors_alone_or_beside_the_outputs() -> None:
    model = build(MODEL, wa=(4, 5), wy=(5, 3))
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    (y,) = open_session(model).run(None, {"x": x})
    inner = open_session(probe(model, ["a", "r", "a"]))
    assert [o.name for o in inner.get_outputs()] == ["a", "r"]
    a, r = inner.run(None, {"x": x})
    assert np.array_equal(np.maximum(a, 0), r)
    both = open_session(probe(model, ["r", "y"], beside=True))
    assert [o.name for o in both.get_outputs()] == ["y", "r"]
    assert np.array_equal(both.run(["y"], {"x": x})[0], y)
    assert [o.name for o in model.graph.output] == ["y"]
