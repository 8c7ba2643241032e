"""A pruned model run in the original's place."""

from __future__ import annotations

import numpy as np

from spa_cli.graph.states import State
from spa_cli.runtime.session import open_session, run
from spa_cli.runtime.widened import Widened, as_is, widened
from tests.builders import build


def test_it_takes_and_gives_what_the_original_does() -> None:
    small = build("(float[1,2] h0, float[1,2] x) => (y, hn) { hn = Add(h0, x)  y = Identity(x) }")
    state = State("h0", "hn", {1: (0, 2)}, {1: 4})
    model = widened(small, [state])
    feeds = {"h0": np.float32([[1, 2, 3, 4]]), "x": np.float32([[10, 20]])}
    y, back = run(open_session(model), feeds)
    assert y.tolist() == [[10, 20]]
    assert back.tolist() == [[11, 0, 23, 0]]
    # an output may be asked for by its name
    assert open_session(model, "all").run(["hn"], feeds)[0].tolist() == [[11, 0, 23, 0]]
    assert as_is(model) is small


def test_without_states_it_is_the_model_itself() -> None:
    small = build("(float[1,2] x) => (y) { y = Relu(x) }")
    assert widened(small, []) is small
    assert not isinstance(widened("model.onnx", ()), Widened)
    assert as_is(small) is small
