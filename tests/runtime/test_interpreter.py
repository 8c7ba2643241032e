"""Values are what a run of the whole network gives, whenever they are asked for and wherever they are kept."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from spa_cli.runtime.interpreter import Interpreter, _declaration
from spa_cli.runtime.probe import probe
from spa_cli.runtime.session import open_session
from spa_cli.runtime.store import Store
from tests.builders import build

NETWORK = """(float[N,3,8,8] x) => (float[N,5] y) {
  a = Conv<pads=[1,1,1,1]>(x, wa, ba)  b = Relu(a)  c = Conv<pads=[1,1,1,1]>(b, wc)  d = Add(b, c)
  s = Shape(d)  t = ConstantOfShape(s)  e = Add(d, t)  g = GlobalAveragePool(e)  h = Flatten(g)  y = Gemm(h, wy, by)
}"""
WEIGHTS = {"wa": (4, 3, 3, 3), "ba": (4,), "wc": (4, 4, 3, 3), "wy": (4, 5), "by": (5,)}


@pytest.fixture
def model() -> onnx.ModelProto:
    return build(NETWORK, **WEIGHTS)


@pytest.fixture
def chunks() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.normal(size=(n, 3, 8, 8)).astype(np.float32)} for n in (4, 4, 3)]


def whole(model: onnx.ModelProto, chunk: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [o for n in model.graph.node for o in n.output]
    return dict(zip(names, open_session(probe(model, names)).run(names, chunk), strict=True))


@pytest.mark.parametrize("limit", [np.inf, 0], ids=["memory", "disk"])
def test_values_are_those_of_the_whole_network(model, chunks, limit) -> None:
    side = Interpreter(model, "", chunks, Store(limit))
    for at, node in enumerate(model.graph.node):
        side.run(node)
        # the one is asked for at once, the other not before all are there
        if at % 3 == 0:
            side.values[node.output[0]].shapes  # noqa: B018
    for at, chunk in enumerate(chunks):
        for name, expected in whole(model, chunk).items():
            np.testing.assert_allclose(side.values[name][at], expected, rtol=1e-5, atol=1e-6)
    assert side.values["a"].shapes == [(4, 4, 8, 8), (4, 4, 8, 8), (3, 4, 8, 8)]
    with pytest.raises(IndexError):
        side.values["a"][3]


def test_how_to_work_out_a_tensor_is_found_once_for_all_chunks(model, chunks, monkeypatch) -> None:
    found = list[tuple[str, ...]]()
    find = Interpreter._found
    monkeypatch.setattr(Interpreter, "_found", lambda side, names, here: found.append(names) or find(side, names, here))
    side = Interpreter(model, "", chunks * 5)
    for node in model.graph.node[:4]:
        side.run(node)
    assert side.values["d"].shape(0) == (4, 4, 8, 8)
    assert [("d" in here) for here in side._kept] == [True] + 14 * [False], "one chunk was asked for"
    assert side.values["d"].shapes == [(4, 4, 8, 8), (4, 4, 8, 8), (3, 4, 8, 8)] * 5
    assert len(found) == len(set(found)) and ("d",) in found
    assert len(side._sessions) == 1, "chunks of another length are declared alike"


def test_what_is_dropped_is_kept_as_long_as_others_are_made_of_it(model, chunks) -> None:
    store = Store(np.inf)
    side = Interpreter(model, "", chunks, store)
    for node in model.graph.node[:2]:
        side.run(node)
    expected = whole(model, chunks[0])
    size = expected["b"].nbytes
    np.testing.assert_allclose(side.values["b"][0], expected["b"], rtol=1e-5, atol=1e-6)
    side.drop("x")
    side.drop("a")
    assert store.used == size
    for node in model.graph.node[2:4]:
        side.run(node)
    side.drop("b")
    side.drop("c")
    # of b two chunks were never made: they still come from x
    assert "b" not in side.values
    np.testing.assert_allclose(side.values["d"][0], expected["d"], rtol=1e-5, atol=1e-6)
    assert store.used == size
    np.testing.assert_allclose(side.values["d"][2], whole(model, chunks[2])["d"], rtol=1e-5, atol=1e-6)
    side.drop("d")
    assert store.used == 0


def test_a_node_runs_again_where_its_parameters_have_changed(model, chunks) -> None:
    side = Interpreter(model, "", chunks)
    for node in model.graph.node:
        side.run(node)
    before = [side.values[name][1] for name in "abd"]
    side.write("ba", np.ones(4))
    side.run(model.graph.node[0])
    assert side.values["a"][1] is before[0]
    side.run(model.graph.node[0], again=True)
    expected = whole(model, chunks[1])
    np.testing.assert_allclose(side.values["a"][1], expected["a"], rtol=1e-5, atol=1e-6)
    # what was made of it stays until it runs again, too
    assert side.values["b"][1] is before[1]
    side.undo(model.graph.node[1])
    assert "b" not in side.values
    side.run(model.graph.node[1])
    np.testing.assert_allclose(side.values["b"][1], expected["b"], rtol=1e-5, atol=1e-6)


def test_a_look_keeps_nothing(model, chunks) -> None:
    store = Store(np.inf)
    side = Interpreter(model, "", chunks, store)
    a, d = side.peek(["a", "d"], 2)
    expected = whole(model, chunks[2])
    np.testing.assert_allclose(a, expected["a"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(d, expected["d"], rtol=1e-5, atol=1e-6)
    assert store.used == 0


def test_a_look_at_some_samples(model, chunks) -> None:
    side = Interpreter(model, "", chunks)
    side.run(model.graph.node[0])
    expected = whole(model, chunks[0])
    np.testing.assert_allclose(side.values["a"][0], expected["a"], rtol=1e-5, atol=1e-6)
    for found, name in zip(side.peek(["a", "c", "e"], 0, [1, 3], len(expected["a"])), "ace", strict=True):
        np.testing.assert_allclose(found, expected[name][[1, 3]], rtol=1e-5, atol=1e-6)


def test_one_of_what_a_node_gives_is_at_hand_and_the_other_is_not() -> None:
    model = build("(float[N,6] x) => (y) { a, b = Split<axis=1, num_outputs=2>(x)  y = Add(a, b) }")
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    side = Interpreter(model, "", [{"x": x}])
    for node in model.graph.node:
        side.run(node)
    np.testing.assert_array_equal(side.values["a"][0], x[:, :3])
    np.testing.assert_array_equal(side.values["y"][0], x[:, :3] + x[:, 3:])


def test_half_precision_of_either_kind_is_declared_as_it_is() -> None:
    """NumPy knows bfloat16 by its size alone: as a word it would be nothing."""
    for kind in (onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT16):
        value = np.zeros((2, 3), onnx.helper.tensor_dtype_to_np_dtype(kind))
        _, found, sizes = _declaration("x", value)
        assert (onnx.helper.np_dtype_to_tensor_dtype(found), sizes) == (kind, (None, None))
