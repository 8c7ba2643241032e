"""Gradients where sizes hang together: of what went before, empty at first, and of a mask over that and what is new."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.adjoints.weights import weight_gradients
from spa_cli.analysis import analyse_model
from spa_cli.runtime.load import load
from tests.builders import build

# a key for every word there was, scores that the mask is added to, and values by these
CACHED = """
    (float[batch,new,4] x, float[batch,past,4] K, float[batch,1,total] mask) => (y, all) {
        q = MatMul(x, wq)  k = MatMul(x, wk)
        all = Concat<axis=1>(K, k)
        back = Transpose<perm=[0,2,1]>(all)
        s = MatMul(q, back)  m = Add(s, mask)  p = Softmax<axis=-1>(m)
        y = MatMul(p, all)
    }
"""


@pytest.mark.parametrize("past", [0, 3])
def test_a_cache_that_was_empty_or_not_when_it_was_looked_at(past) -> None:
    """The gradient graph of an empty one also runs with three words in it, and gives the slope of what it computes."""
    rng = np.random.default_rng(past)
    source = load(build(CACHED, wq=(4, 4), wk=(4, 4)))
    analysis = analyse_model(source, {"x": (2, 3, 4), "K": (2, past, 4), "mask": (2, 1, 3 + past)})
    found = weight_gradients(analysis.graph, analysis.state.shapes, ["wq", "wk"], ["y"])
    assert set(found.names) == {"wq", "wk"} and not found.missing
    for there in (0, 3):
        shapes = {"x": (2, 3, 4), "K": (2, there, 4), "mask": (2, 1, 3 + there)}
        feeds = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        weights = {n: np.array(analysis.graph.array(n)) for n in found.names}
        towards = rng.normal(size=(2, 3, 4)).astype(np.float32)
        slopes = found.run(feeds, {"y": towards}, weights)
        for name in found.names:
            step = 1e-2 * rng.normal(size=(4, 4)).astype(np.float32)
            ends = [found.outputs(feeds, {**weights, name: weights[name] + sign * step})["y"] for sign in (1, -1)]
            measured = float((towards * (ends[0] - ends[1])).sum(dtype=np.float64)) / 2
            assert float((slopes[name] * step).sum()) == pytest.approx(measured, rel=2e-2, abs=2e-4)
