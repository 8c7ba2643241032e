"""Weights that an exporter listed among the inputs leave those unasked: without that a result may be the slower one."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa_cli
from spa_cli.errors import UnreachableError
from spa_cli.tidy import steps
from spa_cli.tidy.draft import Draft
from spa_cli.tidy.optional_inputs import take_off
from tests.builders import build, with_initializer_inputs
from tests.cli.running import spa
from tests.equivalence import assert_same, feeds, run
from tests.graph.files import save_external

TEXT = """(float[N,3,6,6] x) => (float[N,4,6,6] y) {
  a = Conv<pads=[1,1,1,1]>(x, w)
  i = Identity(a)
  r = Relu(i)
  y = Conv(r, u)
}"""
ASKED = {"ratio": 0.125, "method": "l1", "round_to": 1}
SAID = "2 weights were also inputs, were taken off, and can no longer be fed; tidy=False keeps them"


def listed() -> onnx.ModelProto:
    model = with_initializer_inputs(build(TEXT, w=(8, 3, 3, 3), u=(4, 8, 1, 1)))
    model.ir_version = 8
    return model


def inputs(model: onnx.ModelProto) -> list[str]:
    return [v.name for v in model.graph.input]


def names(model: onnx.ModelProto) -> list[list[str]]:
    graph = model.graph
    return [[v.name for v in graph.output], [n.op_type for n in graph.node], sorted(t.name for t in graph.initializer)]


def test_they_leave_and_nothing_else_does(tmp_path) -> None:
    model, plan = listed(), tmp_path / "plan.json"
    small = spa_cli.prune(model, tmp_path / "s.onnx", plan_out=plan, **ASKED)
    assert inputs(small.model) == ["x"] and names(small.model) == names(model)
    assert small.warnings == [SAID]
    assert small.plan.about["tidy"] == {"inputs": 2}
    again = spa_cli.apply(plan, model)
    assert again.model.graph == small.model.graph and again.plan.about["tidy"] == {"inputs": 2}
    assert spa_cli.verify(model, tmp_path / "s.onnx", plan=plan).zeroing == "equal"
    (given,) = list(feeds(model, {"x": (2, 3, 6, 6)}, np.random.default_rng(0)))[:1]
    kept = spa_cli.prune(model, tidy=False, **ASKED).model
    assert_same(kept, run(kept, given), run(small.model, given), 1e-6)


def test_they_stay_where_that_is_asked_for(tmp_path) -> None:
    result = spa_cli.prune(listed(), tidy=False, **ASKED)
    assert inputs(result.model) == ["x", "w", "u"] and "tidy" not in result.plan.about
    (warning,) = result.warnings
    assert warning.startswith("2 weights are also inputs, ") and warning.endswith(
        "; tidy=True takes them off the inputs"
    )
    onnx.save(listed(), tmp_path / "m.onnx")
    (tmp_path / "spa.toml").write_text("[prune]\ntidy = false\n")
    asked = ("--ratio", 0.125, "--method", "l1", "--config", tmp_path / "spa.toml", "--json", "-o", "s")
    for flags, tidied in (((), {}), (("--tidy",), {"inputs": 2, "idle": 1})):
        report = json.loads(spa("prune", tmp_path / "m.onnx", *asked, *flags, "--dry-run").out)
        assert report["tidied"] == tidied


def test_what_an_author_lists_stays_with_a_warning() -> None:
    model = listed()
    del model.graph.input[1]
    assert inputs(model) == ["x", "u"]
    result = spa_cli.prune(model, **ASKED)
    assert inputs(result.model) == ["x", "u"]
    (warning,) = result.warnings
    assert warning.startswith("1 weight is also an input, ") and warning.endswith("; tidy=True takes it off the inputs")


def test_weights_beside_the_model_and_without_a_run(tmp_path) -> None:
    path, plan = save_external(listed(), tmp_path / "m.onnx"), tmp_path / "plan.json"
    asked = {"ratio": 0.125, "method": "l1", "run": False}
    for given in (path, listed()):
        result = spa_cli.prune(given, tmp_path / "s.onnx", plan_out=plan, force=True, **asked)
        assert inputs(onnx.load(tmp_path / "s.onnx", load_external_data=False)) == ["x"]
        assert result.plan.about["tidy"] == {"inputs": 2}
        assert inputs(spa_cli.apply(plan, given, run=False).model) == ["x"]
        assert spa_cli.verify(given, tmp_path / "s.onnx", plan=plan, run=False).zeroing == "equal"
    assert spa_cli.prune(path, tmp_path / "t.onnx", **ASKED).plan.about["tidy"] == {"inputs": 2}


def broken(draft: Draft) -> int:
    """The step, but it gives a weight other values."""
    count = take_off(draft)
    for tensor in draft.graph.initializer:
        if count and tensor.name == "u":
            tensor.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(tensor), "u"))
    return count


def test_they_stay_where_the_model_would_be_another(monkeypatch) -> None:
    monkeypatch.setitem(steps.STEPS, "inputs", (broken, "off the inputs"))
    result = spa_cli.prune(listed(), **ASKED)
    assert inputs(result.model) == ["x", "w", "u"] and "tidy" not in result.plan.about
    (warning,) = result.warnings
    assert warning.startswith("2 weights are also inputs, ")
    assert "; nothing is changed, as the model is another without them: output 'y' differs by " in warning


def test_a_sweep_and_many_models_do_the_same(tmp_path) -> None:
    asked = {"points": (0.125,), "by": "ratio", "keep_models": True, "method": "l1", "round_to": 1}
    found = spa_cli.sweep(listed(), tmp_path / "sweep", **asked)
    assert inputs(onnx.load(tmp_path / "sweep" / "ratio-0.125.onnx")) == ["x"]
    assert found.warnings == [SAID]
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        onnx.save(listed(), tmp_path / "in" / f"{name}.onnx")
    ran = spa("prune", tmp_path / "in", "-o", tmp_path / "out", "--ratio", 0.125, "--method", "l1")
    assert ran.code == 0, ran.err
    assert [inputs(onnx.load(tmp_path / "out" / f"{name}.onnx")) for name in ("a", "b")] == [["x"], ["x"]]


def test_a_latency_that_is_met_once_they_left(monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.trial.trials.Trials.latency_left", lambda *_: 0.3)
    said = r"target_latency 0.5 needs no cut: to take its weights off the inputs leaves 0.300 of the original, .*; ask"
    with pytest.raises(UnreachableError, match=said):
        spa_cli.prune(listed(), target_latency=0.5, method="l1")
