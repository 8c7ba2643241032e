"""Networks that go to another process: there they give what they give here, whole and stretch by stretch."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from onnx import numpy_helper

from spa_cli.engines.pool import Alone
from spa_cli.runtime.portable import InParts, Portable, weights_of
from spa_cli.runtime.probe import probe
from spa_cli.runtime.session import open_session
from spa_cli.runtime.store import Store
from spa_cli.runtime.stretches import stretches
from tests.runtime.test_stretches import GRAPH, size

RNG = np.random.default_rng(0)
REQUESTS = [["x", "a"], ["b", "c"], ["d", "e"], ["f", "g"]]
NAMES = [n for names in REQUESTS for n in names if n != "x"]


@pytest.mark.parametrize(("room", "parts"), [(1000, 1), (41, 3), (17, 4), (1, 4)])
def test_each_stretch_serves_what_fits_and_gives_what_the_whole_gives(room, parts) -> None:
    found = stretches(GRAPH, REQUESTS, [0] * 4, size, room)
    assert len(found) == parts
    assert sorted(i for part in found for i in part.served) == [0, 1, 2, 3]
    chunks = [{"x": RNG.standard_normal((n, 8)).astype(np.float32)} for n in (3, 2)]
    whole, store = open_session(probe(GRAPH.model, NAMES)), Store(0)
    network, before = InParts(GRAPH, found), [{}, {}]
    for number, part in enumerate(found):
        for at, chunk in enumerate(chunks):
            values = network.run(number, chunk, before[at])
            wanted = {n for i in part.served for n in REQUESTS[i] if n != "x"}
            assert wanted <= values.keys()
            for name in wanted:
                (expected,) = whole.run([name], chunk)
                np.testing.assert_array_equal(values[name], expected)
            before[at] = {name: store.put(values[name]) for name in part.kept}


class _Travels(Alone):
    """As if the rest were elsewhere."""

    spread = True


def test_networks_travel_without_the_weights_that_travel_once(monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.runtime.portable.pool", lambda at=_Travels(): at)
    monkeypatch.setattr("spa_cli.runtime.portable._LARGE", 600)
    chunk = {"x": RNG.standard_normal((3, 8)).astype(np.float32)}
    model = probe(GRAPH.model, NAMES)
    # what is not the graph's own goes with the network
    model.graph.initializer.append(numpy_helper.from_array(np.ones(500, np.float32), "own"))
    network, weights = Portable(GRAPH, model), weights_of(GRAPH)
    assert weights.tensors.keys() == {"w4"}
    sent = pickle.dumps(network)
    large = next(t for t in GRAPH.model.graph.initializer if t.name == "w4").raw_data
    assert large not in sent and large in pickle.dumps(weights)
    there, own = pickle.loads(sent), pickle.loads(pickle.dumps(weights))
    for _ in range(2):
        there.open(own)
    whole = open_session(probe(GRAPH.model, NAMES)).run(NAMES, chunk)
    for a, b in zip(there.run(NAMES, chunk), whole, strict=True):
        np.testing.assert_array_equal(a, b)
    # and on from there
    again = pickle.loads(pickle.dumps(there))
    again.open(own)
    np.testing.assert_array_equal(again.run(["g"], chunk)[0], whole[NAMES.index("g")])


def test_where_nothing_travels_the_model_is_let_go_once_it_is_open() -> None:
    assert weights_of(GRAPH) is None
    network = Portable(GRAPH, probe(GRAPH.model, NAMES))
    network.open(None)
    assert network._model is None
    assert len(network.run(["a"], {"x": np.zeros((1, 8), np.float32)})) == 1
