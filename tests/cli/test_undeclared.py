"""Models that declare no shape of an input: asked for, and then pruned like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.builders import build
from tests.cli.running import refused, spa

CONV = """(float[N,3,H,W] x) => (float[N,4] y) {
  h = Conv(x, wa)
  r = Relu(h)
  g = GlobalAveragePool(r)
  f = Flatten(g)
  y = MatMul(f, wb)
}"""
DENSE = "(float[N,8] x) => (float[N,4] y) { h = MatMul(x, wa)  r = Relu(h)  y = MatMul(r, wb) }"
# the image as a list of its pixels, by sizes that the graph reads off it: they stay so
PIXELS = """(float[N,8,H,W] x) => (z) {
  s = Shape<start=2>(x)
  c = Conv(x, wa)
  cut = Concat<axis=0>(nc, s)
  v = Reshape(c, cut)
  r = Relu(v)
  z = Conv(r, wb)
}"""
MODELS = {
    "conv": (CONV, {"wa": (8, 3, 3, 3), "wb": (8, 4)}, "1,3,20,20", {"wa": (4, 3, 3, 3), "wb": (4, 4)}),
    "dense": (DENSE, {"wa": (8, 16), "wb": (16, 4)}, "3,8", {"wa": (8, 8), "wb": (8, 4)}),
    "sizes": (
        PIXELS,
        {"wa": (8, 8, 1, 1), "wb": (4, 8, 1, 1), "nc": [0, -1]},
        "2,8,6,7",
        {"wa": (4, 8, 1, 1), "wb": (4, 4, 1, 1)},
    ),
}


def _undeclared(folder: Path, name: str) -> Path:
    text, weights, _, _ = MODELS[name]
    model = build(text, **weights)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


@pytest.mark.parametrize("command", ["prune", "inspect", "verify"])
def test_it_is_asked_for(command, tmp_path) -> None:
    model = _undeclared(tmp_path, "conv")
    rest = {"prune": ("-o", tmp_path / "s.onnx", "--ratio", 0.5), "inspect": (), "verify": (model,)}[command]
    assert refused(3, command, model, *rest) == (
        "the model declares no shape of its input 'x'; give one, as in --input-shape x:1,3,224,224"
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["l1", "obspa"])
def test_given_it_is_pruned(name, method, tmp_path) -> None:
    model = _undeclared(tmp_path, name)
    _, _, shape, left = MODELS[name]
    given, out, plan = ("--input-shape", f"x:{shape}"), tmp_path / "s.onnx", tmp_path / "plan.json"
    ran = spa("prune", model, "-o", out, "--ratio", 0.5, "--method", method, "--plan-out", plan, *given)
    assert ran.code == 0, ran
    small = onnx.load(out)
    assert {t.name: tuple(t.dims) for t in small.graph.initializer if t.name in left} == left
    assert not small.graph.input[0].type.tensor_type.HasField("shape")
    assert spa("verify", model, out, "--plan", plan, *given).code == 0
    assert spa("inspect", model, *given).code == 0
    # a plan says the shapes that it was made at
    assert spa("apply", plan, model, "-o", tmp_path / "again.onnx").code == 0


def test_samples_say_it_too(tmp_path) -> None:
    model = _undeclared(tmp_path, "conv")
    np.savez(tmp_path / "c.npz", x=np.random.default_rng(0).random((16, 3, 12, 12), np.float32))
    options = ("-o", tmp_path / "s.onnx", "--ratio", 0.5, "--calib", tmp_path / "c.npz")
    assert spa("prune", model, *options).code == 0
    assert spa("verify", model, tmp_path / "s.onnx", "--calib", tmp_path / "c.npz").code == 0
