"""Weights go to the file in the types it has, and are the same numbers there."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from spa_cli.runtime.load import load
from spa_cli.tuning.stored import as_stored, with_weights
from tests.builders import build

WEIGHTS = {
    "s": np.array(0.1, np.float32),
    "z": np.zeros((), np.int8),
    "q": np.zeros((3, 2), np.int8),
    "h": np.zeros((3, 2), np.float16),
    "f": np.zeros((3, 2), np.float32),
}
TEXT = """(float[N,3] x) => (y) {
  w = DequantizeLinear(q, s, z)
  c = Cast<to=1>(h)
  both = Add(w, c)
  all = Add(both, f)
  y = MatMul(x, all)
}"""
VALUES = np.array([[0.6, -1.4], [300, -300], [0.1, 2049]], np.float32)


def test_numbers_are_rounded_as_they_are_stored_and_what_is_stored_are_those_numbers() -> None:
    source = load(build(TEXT, **WEIGHTS))
    weights = {name: VALUES.copy() for name in ("q", "h", "f")}
    found = as_stored(source.graph, weights)
    np.testing.assert_array_equal(found["q"], [[1, -1], [127, -128], [0, 127]])
    np.testing.assert_array_equal(found["h"], VALUES.astype(np.float16))
    np.testing.assert_array_equal(found["f"], VALUES)
    assert all(value.dtype == np.float32 for value in found.values())
    assert not np.shares_memory(found["f"], weights["f"])
    written = {t.name: numpy_helper.to_array(t) for t in with_weights(source, weights).graph.initializer}
    for name, value in found.items():
        assert written[name].dtype == WEIGHTS[name].dtype
        np.testing.assert_array_equal(written[name], value)
    np.testing.assert_array_equal(written["s"], WEIGHTS["s"])
