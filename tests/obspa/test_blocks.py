"""Weights of a few bits in blocks: as onnxruntime reads them, rounded again, and refitted only where that helps."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.graph.view import build as view
from spa_cli.obspa.blocks import Blocks, blocks_of
from spa_cli.runtime.session import open_session, run
from tests.builders import build, random
from tests.obspa.test_repair import distance, smooth

MICROSOFT = {"com.microsoft": 1}


def product(bits=4, size=16, k=32, n=6, zero="", line=False) -> onnx.ModelProto:
    """One product; ``zero``: "" for the middle, "bytes" or "numbers"; ``line``: scales in one line."""
    rng, count = np.random.default_rng(bits), -(-k // size)
    weights = {"b": rng.integers(0, 256, (n, count, size * bits // 8)).astype(np.uint8)}
    weights["s"] = (0.02 + rng.random((n, count)) / 10).astype(np.float32)
    if line:
        weights["s"] = weights["s"].ravel()
    if zero == "bytes":
        weights["z"] = rng.integers(0, 256, (n, -(-count * bits // 8))).astype(np.uint8)
    elif zero:
        weights["z"] = (8 * rng.random((n, count))).astype(np.float32)
    node = f"com.microsoft.MatMulNBits<K={k}, N={n}, bits={bits}, block_size={size}>(x, b, s{', z' if zero else ''})"
    return build(f"(float[M,{k}] x) => (float[M,{n}] y) {{ y = {node} }}", domains=MICROSOFT, **weights)


def stored(model: onnx.ModelProto) -> tuple[Blocks, object]:
    graph = view(model, "")
    found = blocks_of(graph, graph.nodes[0])
    assert found is not None
    return found, lambda name: graph.array(name) if name in graph.parameters else None


KINDS = [
    {},
    {"zero": "bytes"},
    {"zero": "numbers"},
    {"bits": 8, "zero": "bytes", "size": 32},
    {"bits": 8, "size": 16},
    {"k": 40},
    {"k": 48, "zero": "bytes", "line": True},
    {"bits": 2, "zero": "bytes"},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_numbers_are_those_onnxruntime_multiplies_by(kind) -> None:
    model = product(**kind)
    found, read = stored(model)
    weight = found.value(read, lambda _: ())
    (y,) = run(open_session(model), {"x": np.eye(weight.shape[1], dtype=np.float32)})
    np.testing.assert_allclose(y.T, weight, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_is_stored_comes_back_and_what_is_not_is_near(kind) -> None:
    found, read = stored(product(**kind))
    weight = found.value(read, lambda _: ())
    for given, most in ((weight, 1e-6), (random(weight.shape, "other"), {2: 0.6, 4: 0.2, 8: 0.02}[found.bits])):
        arrays = found.written(given, read)
        assert {n: (a.shape, a.dtype) for n, a in arrays.items()} == {n: (read(n).shape, read(n).dtype) for n in arrays}
        again = found.value(lambda name, new=arrays: new.get(name), lambda _: ())
        assert np.linalg.norm(again - given) <= most * np.linalg.norm(given)


def test_errors_are_made_up_for_where_inputs_say_the_same() -> None:
    found, read = stored(product(size=16, k=64, n=8))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 8)) @ rng.standard_normal((8, 64)) + 0.1 * rng.standard_normal((400, 64))
    weight, h = random((8, 64), "w").astype(np.float64), x.T @ x / 400

    def missed(arrays) -> float:
        again = found.value(lambda name: arrays.get(name), lambda _: ())
        return float(np.square((again - weight) @ x.T).sum())

    assert missed(found.written(weight, read, h)) < 0.5 * missed(found.written(weight, read))


@pytest.mark.parametrize("attribute", ["bits=3", "block_size=32", "weight_prepacked=1"])
def test_what_is_stored_otherwise_is_left_alone(attribute) -> None:
    model = product()
    name, value = attribute.split("=")
    node = model.graph.node[0]
    for each in [a for a in node.attribute if a.name == name]:
        node.attribute.remove(each)
    node.attribute.append(onnx.helper.make_attribute(name, int(value)))
    graph = view(model, "")
    assert blocks_of(graph, graph.nodes[0]) is None


def network(bits=4, bias=False, zero="bytes") -> onnx.ModelProto:
    """Two packed products with Relu between them; hidden blocks come in pairs of which one can stand for both."""
    hidden, size, half = 128, 16, 64
    first = random((half, 32), "first")
    shapes = {"a": np.concatenate([first, first + 0.05 * random((half, 32), "noise")]), "c": random((8, hidden), "c")}
    arrays: dict[str, object] = {}
    for name, w in shapes.items():
        n, count = len(w), w.shape[1] // size
        blank = {f"b{name}": np.zeros((n, count, size * bits // 8), np.uint8)}
        blank[f"s{name}"] = np.ones((n, count), np.float32)
        if zero:
            blank[f"z{name}"] = np.zeros((n, -(-count * bits // 8)), np.uint8)
        packed = Blocks(f"b{name}", (), f"s{name}", f"z{name}" if zero else "", bits=bits, size=size, inputs=w.shape[1])
        arrays |= packed.written(w, blank.get)
    call = "com.microsoft.MatMulNBits<K={k}, N={n}, bits={b}, block_size=16>"
    za, zc = (", za", ", zc") if zero else ("", "")
    if bias:
        zc = f"{zc or ', '}, , bias"
        arrays["bias"] = (8,)
    one, two = call.format(k=32, n=hidden, b=bits), call.format(k=hidden, n=8, b=bits)
    text = f"""(float[N,32] x) => (float[N,4] y) {{
      a = {one}(x, ba, sa{za})  h = Relu(a)  c = {two}(h, bc, sc{zc})  y = MatMul(c, wy)
    }}"""
    return build(text, domains=MICROSOFT, wy=np.eye(8, 4, dtype=np.float32) + random((8, 4), "y"), **arrays)


@pytest.mark.parametrize("kind", [{}, {"bits": 8}, {"bias": True}, {"zero": ""}], ids=str)
def test_what_blocks_that_went_gave_is_taken_over(kind, tmp_path) -> None:
    model = network(**kind)
    np.save(tmp_path / "calib.npy", smooth((512, 32), 1))
    unseen = smooth((128, 32), 2)
    result = spa_cli.prune(model, target_params=0.6, calib=tmp_path / "calib.npy", round_to="1")
    sliced = spa_cli.apply(result.plan, model).model
    assert result.plan.about["repair"]["layers"] == 3
    assert result.plan.about["repair"]["refitted"] >= 2
    assert distance(model, result.model, unseen) < 0.7 * distance(model, sliced, unseen)
    before = {t.name: t for t in sliced.graph.initializer}
    for tensor in result.model.graph.initializer:
        assert (list(tensor.dims), tensor.data_type) == (list(before[tensor.name].dims), before[tensor.name].data_type)


@pytest.mark.parametrize("bias", [False, True])
def test_what_rounding_spoils_keeps_what_it_has_but_for_its_offset(bias, tmp_path, monkeypatch) -> None:
    """As if the fit were beyond what so few bits can say."""
    model = network(bias=bias)
    np.save(tmp_path / "calib.npy", smooth((256, 32), 1))
    right = Blocks.written
    monkeypatch.setattr(Blocks, "written", lambda self, value, *rest: right(self, 0 * value, *rest))
    result = spa_cli.prune(model, target_params=0.6, calib=tmp_path / "calib.npy", round_to="1")
    sliced = {t.name: t for t in spa_cli.apply(result.plan, model).model.graph.initializer}
    about, after = result.plan.about["repair"], {t.name: t for t in result.model.graph.initializer}
    assert all(after[n].raw_data == sliced[n].raw_data for n in ("ba", "sa", "za", "bc", "sc", "zc"))
    if bias:
        assert after["bias"].raw_data != sliced["bias"].raw_data
        assert about["recalibrated"] == 1
    else:
        assert about["kept_sliced"]["MatMulNBits_c"] == "rounded to 4 bits no fit did better on held-back samples"
