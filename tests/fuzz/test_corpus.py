"""What fuzzing found ends in a result or in a refusal of its own kind; ``make fuzz`` looks for more."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from spa_cli.graph import guard
from spa_cli.progress import LOG
from tests.builders import build
from tests.cli.running import Ran, spa
from tests.fuzz.corpus import MODELS, model
from tests.samples import model_path

MLP = model_path("digits_mlp")


@pytest.fixture(autouse=True)
def as_for_users(monkeypatch) -> None:
    """Without what makes other tests fail where a rule does."""
    monkeypatch.setattr(guard, "STRICT", False)


def _ends(*arguments: object) -> Ran:
    ran = spa(*arguments)
    assert "unexpected" not in ran.err, ran.err
    assert ran.code in range(5)
    assert ran.code == 0 or [line for line in ran.err.splitlines() if line.startswith("error: ")], ran.err
    return ran


@pytest.mark.parametrize("name", MODELS)
def test_model(name, tmp_path, caplog) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(model(name).SerializeToString())
    found, operator = _ends("inspect", file, "--json"), MODELS[name][2]
    assert found.code in (0, 3)
    if found.code == 0 and operator:
        # what its rule could not follow is said of the node, by its operator and attributes
        assert re.search(rf"node '{operator}_y': {operator} \(.*\) can't be followed: ", caplog.text)
    _ends("prune", file, "-o", tmp_path / "small.onnx", "--ratio", 0.4, "--method", "l1")


def _plan(tmp_path: Path) -> dict:
    plan = tmp_path / "plan.json"
    assert (
        spa("prune", MLP, "-o", tmp_path / "small.onnx", "--ratio", 0.3, "--method", "l1", "--plan-out", plan).code == 0
    )
    found: dict = json.loads(plan.read_text())
    return found


@pytest.mark.parametrize(
    "key", ["method", "round_to", "device", "predicted_latency", "multiples", "tidy", "blocks", "repair"]
)
def test_plan_that_says_something_else(key, tmp_path) -> None:
    plan = tmp_path / "odd.json"
    plan.write_text(json.dumps({**_plan(tmp_path), key: [{"x": [1]}]}))
    ran = _ends("apply", plan, MLP, "-o", tmp_path / "applied.onnx")
    assert ran.code == 2
    assert f'is malformed at "{key}"; make it again with --plan-out' in ran.err or key == "tidy"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"schema": "spa.plan/1", "kept": ' + "[" * 100_000,
        "",
        "null",
        '{"schema": "spa.plan/1", "kept": {"x": 1}}',
    ],
    ids=["deep", "deep inside", "empty", "null", "no axes"],
)
def test_plan_that_is_none(text, tmp_path) -> None:
    (tmp_path / "plan.json").write_text(text)
    assert _ends("apply", tmp_path / "plan.json", MLP, "-o", tmp_path / "small.onnx").code == 2


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("calib.npy", b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (8, 64" + b" " * 60),
        ("calib.npy", b"\x93NUMPY\x01\x00\x76\x00" + b"(" * 118),
        ("calib.npz", b"PK\x03\x04" + bytes(60)),
        ("calib.npz", b""),
    ],
)
def test_calibration_file_that_is_cut_short(name, data, tmp_path) -> None:
    (tmp_path / name).write_bytes(data)
    asked = ("--ratio", 0.4, "--calib", tmp_path / name)
    ran = _ends("prune", MLP, "-o", tmp_path / "small.onnx", *asked)
    assert ran.code == 2
    assert "can't be read" in ran.err


def test_names_that_the_system_does_not_take(tmp_path) -> None:
    long = "a" * 300
    assert _ends("inspect", long).code == 2
    assert _ends("prune", MLP, "-o", tmp_path / "small.onnx", "--ratio", 0.4, "--calib", long).code == 2
    (tmp_path / "spa.toml").write_text(f'calib = "{long}"')
    ran = _ends("prune", MLP, "-o", tmp_path / "small.onnx", "--ratio", 0.4, "--config", tmp_path / "spa.toml")
    assert ran.code == 2
    assert "File name too long" in ran.err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names, or see to it themselves")
def test_names_of_files_in_another_encoding(tmp_path, monkeypatch) -> None:
    """As archives that were packed elsewhere have them; plans and samples may be called so, no model."""
    # what pytest keeps of the log could not be sent to where it is shown
    monkeypatch.setattr(LOG, "propagate", False)
    odd = tmp_path / os.fsdecode(b"mod\xe8le")
    odd.mkdir()
    shutil.copy(MLP, odd / "m.onnx")
    asked = ("-o", tmp_path / "small.onnx", "--ratio", 0.4, "--method", "l1", "--plan-out", odd / "plan.json")
    ran = _ends("prune", odd / "m.onnx", *asked)
    assert (ran.code, ran.err.count("\n")) == (3, 1)
    assert "is not in UTF-8, so that onnxruntime can't open it; rename it" in ran.err
    ran = _ends("prune", MLP, "-o", odd / "small.onnx", "--ratio", 0.4)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "is not in UTF-8, which onnxruntime asks for; choose another" in ran.err
    assert _ends("prune", MLP, *asked).code == 0
    assert (odd / "plan.json").is_file()


def test_names_in_a_model_that_are_no_text(tmp_path) -> None:
    file = tmp_path / "model.onnx"
    data = MLP.read_bytes()
    for old in (b"coefficient", b"pixels"):
        file.write_bytes(data.replace(old, b"\xff" * len(old)))
        ran = _ends("inspect", file)
        assert ran.code == 3
        assert "for a name, which is no text in UTF-8; download or export it again" in ran.err


def test_outputs_that_are_there_twice(tmp_path) -> None:
    twice = onnx.load(str(MLP))
    twice.graph.output.append(twice.graph.output[0])
    (tmp_path / "twice.onnx").write_bytes(twice.SerializeToString())
    ran = _ends("verify", MLP, tmp_path / "twice.onnx")
    assert ran.code != 0


def test_samples_of_any_length_that_a_model_does_not_take(tmp_path) -> None:
    """It says that its batch is free, and reshapes to one of a single sample."""
    np.savez(tmp_path / "calib.npz", x=np.ones((8, 5), np.float32))
    file = tmp_path / "model.onnx"
    text = "(float[N,5] x) => (float[1,3] y) { r = Reshape(x, one) a = MatMul(r, wa) b = Relu(a) y = MatMul(b, wb) }"
    file.write_bytes(build(text, one=[1, 5], wa=(5, 8), wb=(8, 3)).SerializeToString())
    for more in ((), ("--calib", tmp_path / "calib.npz")):
        _ends("prune", file, "-o", tmp_path / "small.onnx", "--ratio", 0.4, "--force", *more)


@pytest.mark.parametrize(
    ("name", "options"),
    [("spa.toml", ("--config",)), ("device.toml", ("--device",))],
    ids=["configuration", "device"],
)
@pytest.mark.parametrize("text", ["x = " + "[" * 100_000, "x = " + "{a=" * 100_000], ids=["lists", "tables"])
def test_toml_that_is_nested_too_deeply(name, options, text, tmp_path) -> None:
    file = tmp_path / name
    file.write_text(text)
    ran = _ends("prune", MLP, "-o", tmp_path / "small.onnx", "--ratio", 0.4, *options, file)
    assert ran.code == 2
    assert "TOML: " in ran.err


def test_a_sweep_that_is_nested_too_deeply(tmp_path) -> None:
    (tmp_path / "sweep.json").write_text('{"key": ' + "[" * 100_000)
    ran = _ends("sweep", MLP, "-o", tmp_path, "--points", "0.8", "--method", "l1")
    assert ran.code == 2
    assert "sweep.json' is no sweep; use --force to replace it" in ran.err


@pytest.mark.parametrize("values", [np.array(3), np.zeros(8), np.zeros((4, 4, 1, 1))], ids=["number", "line", "other"])
def test_weights_that_lack_an_axis_of_the_plan(values, tmp_path) -> None:
    """Seed 20261129, case 2263: the plan is of blocks, the framework's weight of that name has none."""
    text = """(float[N,3,6,6] x) => (float[N,4,6,6] y) {
      a = Conv(x, w1) b = Conv<group=2>(a, wg) c = Conv<group=2>(b, wh) y = Conv(c, w2)
    }"""
    shapes = {"w1": (8, 3, 1, 1), "wg": (8, 4, 1, 1), "wh": (6, 4, 1, 1), "w2": (4, 6, 1, 1)}
    onnx.save(build(text, **shapes), tmp_path / "m.onnx")
    asked = ("--ratio", 0.4, "--method", "l1", "--plan-out", tmp_path / "plan.json")
    assert _ends("prune", tmp_path / "m.onnx", "-o", tmp_path / "s.onnx", *asked).code == 0
    np.savez(tmp_path / "w.npz", **{**{n: np.zeros(s, np.float32) for n, s in shapes.items()}, "wg": values})
    ran = _ends("apply", tmp_path / "plan.json", "--weights", tmp_path / "w.npz", "-o", tmp_path / "small.npz")
    assert ran.code == 2
    assert "; give the model too, or the weights that belong to it" in ran.err
