"""What goes wrong rarely: models that onnxruntime does not run, disks that are full, options of Typer's own."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from spa_cli.analysis import Analysis
from spa_cli.errors import CutError
from spa_cli.request import Request
from spa_cli.runtime.timing import Timing
from spa_cli.trial import orders
from spa_cli.trial.choose import Choice, choose_by_budget
from spa_cli.trial.prepare import Ranked
from spa_cli.trial.trials import Trials
from tests.builders import build
from tests.cli.running import contents, refused, spa

MLP = """(float[N,5] x) => (float[N,3] y) {
  h = Gemm(x, wa)
  r = Relu(h)
  y = Gemm(r, wb, bb)
}"""
WEIGHTS = {"wa": (5, 8), "wb": (8, 3), "bb": (3,)}
# an index far outside of the table
OUTSIDE = """(float[N,5] x) => (float[N,3] y, float[N,5] z) {
  h = Gemm(x, wa)
  r = Relu(h)
  y = Gemm(r, wb, bb)
  m = Mul(x, big)
  i = Cast<to=7>(m)
  z = Gather(table, i)
}"""


def _saved(path: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, path)
    return path


@pytest.fixture
def mlp(tmp_path) -> Path:
    return _saved(tmp_path / "mlp.onnx", build(MLP, **WEIGHTS))


@pytest.fixture
def wanted(tmp_path) -> tuple[object, ...]:
    return ("-o", tmp_path / "small.onnx", "--ratio", 0.3, "--method", "l1")


def _fails(*_args: object, **_kwargs: object) -> None:
    raise OSError(28, "No space left on device")


# -- models -----------------------------------------------------------------------------------------------------------


def test_a_model_that_may_not_be_read(mlp, monkeypatch) -> None:
    def denied(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(onnx, "load", denied)
    said = refused(3, "inspect", mlp)
    assert said == f"'{mlp}' can't be read: Permission denied; check the file and its permissions"


def test_local_functions_that_can_not_be_inlined(tmp_path, monkeypatch) -> None:
    model = build(MLP, **WEIGHTS)
    opset = [helper.make_opsetid("", 18)]
    model.functions.append(
        helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opset)
    )

    def fails(_: object) -> None:
        raise RuntimeError("it calls itself")

    monkeypatch.setattr(onnx.inliner, "inline_local_functions", fails)
    said = refused(3, "inspect", _saved(tmp_path / "f.onnx", model))
    assert said == ("the local functions of 'f.onnx' can't be inlined: it calls itself; export the model without them")


def test_a_model_without_weights(tmp_path, wanted) -> None:
    model = build("(float[N,5] x) => (float[N,5] y) { y = Relu(x) }")
    said = refused(3, "prune", _saved(tmp_path / "m.onnx", model), *wanted)
    assert said == "nothing in 'm.onnx' can be pruned: it has no weights; export it with them"


def test_a_model_with_an_operator_that_onnxruntime_does_not_know(tmp_path, wanted) -> None:
    model = build(MLP, domains={"own": 1}, **WEIGHTS)
    model.graph.node.append(helper.make_node("Odd", ["x"], ["z"], domain="own"))
    model.graph.output.append(helper.make_tensor_value_info("z", 1, ["N", 5]))
    said = refused(3, "prune", _saved(tmp_path / "m.onnx", model), *wanted)
    assert said.startswith("onnxruntime can't load 'm.onnx': ")
    assert "own:Odd" in said
    assert said.endswith("; give --no-run to go by its structure only, or export it with operators it knows")


def test_a_model_that_does_not_run(tmp_path, wanted) -> None:
    """On synthetic inputs the model is to blame, or its shapes; on the user's samples they are."""
    model = _saved(tmp_path / "m.onnx", build(OUTSIDE, **WEIGHTS, big=1e9, table=(4,)))
    said = refused(3, "prune", model, *wanted)
    assert said.startswith("'m.onnx' does not run on synthetic inputs, 'x' of 1x5, 2x5 and 8x5 (")
    assert said.endswith("); give --input-shape or --calib")
    np.savez(tmp_path / "c.npz", x=np.ones((4, 5), np.float32))
    said = refused(2, "prune", model, *wanted, "--calib", tmp_path / "c.npz")
    assert said.startswith("'m.onnx' does not run on the calibration data (")
    assert said.endswith("); give samples it takes")


def test_a_model_that_runs_at_one_size_only(tmp_path, wanted) -> None:
    """Nothing in it says so but a constant shape: at the size that is assumed it does not fit."""
    text = "(float[N,5] x) => (float[M,3] y) { h = Gemm(x, wa)\n r = Reshape(h, s)\n y = Gemm(r, wb, bb) }"
    model = _saved(tmp_path / "m.onnx", build(text, **WEIGHTS, s=[1009, 8]))
    said = refused(3, "prune", model, *wanted, "--input-shape", "x:1008,5")
    assert said.startswith("nothing in 'm.onnx' can be pruned (")
    assert spa("prune", model, *wanted).code == 0


def test_a_criterion_that_has_no_scores(mlp, tmp_path) -> None:
    said = refused(3, "prune", mlp, "-o", tmp_path / "s.onnx", "--ratio", 0.3, "--method", "bn")
    assert said == (
        "nothing in 'mlp.onnx' can be pruned by --method bn: none of its weights has a score by --method bn; "
        "use another criterion ('spa criteria')"
    )


def test_a_criterion_that_has_scores_for_some_groups(tmp_path) -> None:
    text = """(float[N,5] x) => (float[N,3] y) {
      h = Gemm(x, wa)
      n = BatchNormalization(h, scale, shift, mean, variance)
      r = Relu(n)
      k = Gemm(r, wc)
      l = Relu(k)
      y = Gemm(l, wb)
    }"""
    norm = {n: np.ones(8, np.float32) for n in ("scale", "shift", "mean", "variance")}
    model = _saved(tmp_path / "m.onnx", build(text, wa=(5, 8), wc=(8, 6), wb=(6, 3), **norm))
    ran = spa("prune", model, "-o", tmp_path / "s.onnx", "--ratio", 0.3, "--method", "bn")
    assert ran.code == 0
    assert ran.err.strip() == (
        "warning: 1 of 2 groups were left whole: none of its weights has a score by --method bn (the first is 'wc')"
    )


# -- focus ------------------------------------------------------------------------------------------------------------


def test_a_class_that_no_sample_is_said_to_be(tmp_path) -> None:
    never = np.array([0, 0, -1e6], np.float32)
    model = _saved(tmp_path / "m.onnx", build(MLP, **{**WEIGHTS, "bb": never}))
    said = refused(2, "prune", model, "-o", tmp_path / "s.onnx", "--ratio", 0.3, "--focus", "classes=2")
    assert said == (
        "--focus classes=2: the model says none of these of any sample; give samples of them, or other classes"
    )


def test_a_slice_of_what_is_held_back(mlp, tmp_path) -> None:
    # the fourth of four is all that is held back
    np.savez(tmp_path / "c.npz", x=np.ones((4, 5), np.float32))
    options = ("--max-drift", 0.9, "--calib", tmp_path / "c.npz", "--focus", "samples=3:4")
    said = refused(2, "prune", mlp, "-o", tmp_path / "s.onnx", *options)
    assert said.endswith("the slice holds only samples held back to measure on; widen it, or give --test")


# -- outputs ----------------------------------------------------------------------------------------------------------


def test_no_space_for_a_private_folder(mlp, wanted, tmp_path, monkeypatch) -> None:
    before = contents(tmp_path)
    monkeypatch.setattr(tempfile, "mkdtemp", _fails)
    said = refused(2, "prune", mlp, *wanted)
    assert said == (
        f"the folder '{tmp_path}' can't be written to: No space left on device; choose another for the output"
    )
    assert contents(tmp_path) == before


def test_no_space_for_the_result(mlp, wanted, tmp_path, monkeypatch) -> None:
    before = contents(tmp_path)
    monkeypatch.setattr(onnx, "save", _fails)
    said = refused(2, "prune", mlp, *wanted)
    assert said.endswith("No space left on device; free some space, or choose another folder")
    assert contents(tmp_path) == before


def test_a_busy_machine(mlp, tmp_path, monkeypatch) -> None:
    """The fastest runs keep the budget, the median does not."""

    def timed(ranked: Ranked, request: Request, trials: Trials) -> Choice:
        choice = choose_by_budget(ranked, request.with_budget("ratio", 0.3), trials)
        return replace(choice, timing=Timing(1.0, 0.9, 1.0, 0.5))

    monkeypatch.setattr(orders, "choose_by_budget", timed)
    ran = spa("prune", mlp, "-o", tmp_path / "s.onnx", "--target-latency", 0.5, "--method", "l1")
    assert ran.code == 0, ran
    assert ran.err.strip() == (
        "warning: this machine is busy: 0.900 of the latency is left by the median, 0.500 by the fastest tenth of the "
        "runs; run 'spa verify' when it is idle"
    )


# -- verify -----------------------------------------------------------------------------------------------------------


def test_verify_names_what_can_not_take_the_place_of_the_original(mlp, tmp_path) -> None:
    other = build(MLP.replace("float[N,3] y", "float[M,3] y"), **WEIGHTS)
    said = refused(1, "verify", mlp, _saved(tmp_path / "other.onnx", other))
    assert said == (
        "'other.onnx' can't take the place of 'mlp.onnx': the inputs or outputs of the result are not those of the "
        "original; prune this model again, or name the one that was pruned"
    )


def test_verify_against_the_plan_of_another_cut(mlp, wanted, tmp_path) -> None:
    assert spa("prune", mlp, *wanted, "--plan-out", tmp_path / "plan.json").code == 0
    said = refused(1, "verify", mlp, mlp, "--plan", tmp_path / "plan.json")
    assert said == "'wa' has shape (5, 8), the plan leaves (5, 6); give the plan that made it"


def test_verify_with_a_plan_that_can_not_be_carried_out(mlp, wanted, tmp_path, monkeypatch) -> None:
    def fails(*_: object) -> None:
        raise CutError("the size 's' would change")

    assert spa("prune", mlp, *wanted, "--plan-out", tmp_path / "plan.json").code == 0
    monkeypatch.setattr(Analysis, "cut", fails)
    said = refused(1, "verify", mlp, tmp_path / "small.onnx", "--plan", tmp_path / "plan.json")
    assert said == (
        "the plan can't be carried out on 'mlp.onnx': the size 's' would change; make a plan from this model"
    )


# -- what Typer refuses itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nope",), "No such command 'nope'"),
        (("prune",), "Missing argument 'model'"),
        (("prune", "m.onnx"), "Missing option"),
        (("prune", "m.onnx", "-o", "s.onnx", "--nonsense"), "No such option: --nonsense"),
        (("prune", "m.onnx", "-o", "s.onnx", "--max-drift", "much"), "Invalid value for '--max-drift'"),
        (("verify", "m.onnx"), "Missing argument 'pruned'"),
    ],
)
def test_what_typer_refuses_is_a_usage_error_too(arguments, says, monkeypatch) -> None:
    # nothing is broken over two lines
    monkeypatch.setenv("COLUMNS", "200")
    ran = spa(*arguments)
    assert ran.code == 2, ran
    assert ran.out == ""
    assert says in ran.err, ran.err
    assert "Traceback" not in ran.err
    # --json is not parsed by then
    told = json.loads(spa(*arguments, "--json").out)
    assert (told["schema"], told["error"]["code"], told["error"]["kind"]) == ("spa.error/1", 2, "usage")
    assert says in told["error"]["message"]
