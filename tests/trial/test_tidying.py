"""``prune --tidy`` from end to end: what is compared is the original, what is cut is tidied."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from rich.console import Console

import spa_cli
from spa_cli.errors import UnreachableError, UsageError, VerificationError
from spa_cli.report.json_report import prune_json
from spa_cli.report.summary import prune_table
from spa_cli.tidy import steps
from spa_cli.tidy.draft import Draft
from tests.builders import build, positive
from tests.equivalence import assert_same, feeds, run
from tests.graph.files import save_external
from tests.samples import model_path
from tests.tidy.same import left

TEXT = """(float[N,3,6,6] x) => (float[N,4,6,6] y) {
  size = Shape<start=0, end=1>(w)
  zero = Constant<value_floats=[0.0]>()
  bias = Expand(zero, size)
  a = Conv<pads=[1,1,1,1]>(x, w, bias)
  n = BatchNormalization(a, s, o, m, v)
  i = Identity(n)
  r = Relu(i)
  y = Conv(r, u)
}"""
WEIGHTS = {"w": (8, 3, 3, 3), "u": (4, 8, 1, 1), "s": positive(8), "o": (8,), "m": (8,), "v": positive(8)}
ASKED = {"ratio": 0.125, "method": "l1", "round_to": 1}


def verbose() -> onnx.ModelProto:
    return build(TEXT, **WEIGHTS)


def test_the_result_is_tidy_and_the_original_is_what_was_given(tmp_path) -> None:
    onnx.save(verbose(), tmp_path / "m.onnx")
    result = spa_cli.prune(tmp_path / "m.onnx", tmp_path / "s.onnx", tidy=True, **ASKED)
    small = onnx.load(tmp_path / "s.onnx")
    assert left(small) == {"Conv": 2, "Relu": 1}
    assert small == result.model
    assert result.before.bytes == (tmp_path / "m.onnx").stat().st_size
    assert result.after.bytes == (tmp_path / "s.onnx").stat().st_size
    assert result.after.params == 7 * 3 * 9 + 7 + 4 * 7
    assert result.plan.about["tidy"] == {"idle": 1, "constants": 2, "unused": 1, "batch-norms": 1}
    assert prune_json(result, "spa.prune/1")["tidied"] == result.plan.about["tidy"]
    assert result.warnings == []


@pytest.mark.parametrize("from_memory", [True, False])
def test_removing_equals_zeroing(tmp_path, from_memory) -> None:
    model = verbose()
    onnx.save(model, tmp_path / "m.onnx")
    result = spa_cli.prune(model if from_memory else tmp_path / "m.onnx", tidy=True, **ASKED)
    zeroed = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in zeroed.graph.initializer:
        for axis, kept in result.plan.kept.get(tensor.name, {}).items():
            array = np.moveaxis(np.array(numpy_helper.to_array(tensor)), int(axis), 0)
            array[np.setdiff1d(np.arange(len(array)), kept)] = 0
            tensor.CopyFrom(numpy_helper.from_array(np.moveaxis(array, 0, int(axis)), tensor.name))
    assert result.plan.kept.keys() >= {"w", "u", "s", "o"}, "norms are cut before they are folded"
    for given in feeds(model, {"x": (2, 3, 6, 6)}, np.random.default_rng(0)):
        assert_same(model, run(zeroed, given), run(result.model, given), 1e-4)


def test_weights_beside_the_model(tmp_path) -> None:
    path = save_external(verbose(), tmp_path / "m.onnx")
    result = spa_cli.prune(path, tmp_path / "s.onnx", tidy=True, **ASKED)
    assert left(result.model) == {"Conv": 2, "Relu": 1}
    inside = spa_cli.prune(verbose(), tidy=True, **ASKED)
    (given,) = list(feeds(verbose(), {"x": (2, 3, 6, 6)}, np.random.default_rng(0)))[:1]
    assert_same(inside.model, run(inside.model, given), run(onnx.load(tmp_path / "s.onnx"), given), 1e-5)


def test_a_plan_is_carried_out_on_what_is_tidied_first(tmp_path) -> None:
    model, plan = verbose(), tmp_path / "plan.json"
    onnx.save(model, tmp_path / "m.onnx")
    made = spa_cli.prune(model, tmp_path / "s.onnx", tidy=True, plan_out=plan, **ASKED)
    again = spa_cli.apply(plan, model)
    assert again.model.graph == made.model.graph
    assert again.plan.about["tidy"] == made.plan.about["tidy"]
    assert spa_cli.verify(model, tmp_path / "s.onnx", plan=plan).zeroing == "equal"
    state = {n: numpy_helper.to_array(t) for t in model.graph.initializer for n in [t.name]}
    assert spa_cli.apply_weights(plan, state, model=model).weights.state["s"].shape == (7,)
    text = plan.read_text()
    plan.write_text(text.replace('"tidy": {', '"tidy": {\n  "dust": 1,'))
    with pytest.raises(UsageError, match="there is no way to tidy called 'dust'"):
        spa_cli.apply(plan, model)
    plan.write_text(text.replace('"tidy": {', '"tidy": 3, "was": {'))
    with pytest.raises(UsageError, match=r'the plan\'s "tidy" has to be \{step: how much it did\}'):
        spa_cli.apply(plan, model)


def broken(draft: Draft) -> int:
    """A step that is wrong: it gives a weight other values, once."""
    if draft.constants["u"].doc_string:
        return 0
    draft.replace("u", np.asarray(2 * numpy_helper.to_array(draft.constants["u"])))
    draft.constants["u"].doc_string = "broken"
    return 1


def test_a_step_that_changes_the_outputs_is_left_out_with_a_warning(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(steps.STEPS, "idle", (broken, "idle"))
    result = spa_cli.prune(verbose(), tidy=True, plan_out=tmp_path / "plan.json", **ASKED)
    (warning,) = result.warnings
    assert warning.startswith("tidy=True went without its step 'idle': output 'y' differs by ")
    assert left(result.model) == {"Conv": 2, "Relu": 1, "Identity": 1}
    assert "idle" not in result.plan.about["tidy"]
    plan = spa_cli.prune(verbose(), **ASKED).plan
    plan.about["tidy"] = {"idle": 1}
    with pytest.raises(VerificationError, match=r"'model' can't be tidied as the plan says: .*; make a plan from this"):
        spa_cli.apply(plan, verbose())


def test_norms_that_do_not_fold_stay_with_a_warning(monkeypatch) -> None:
    monkeypatch.setitem(steps.STEPS, "batch-norms", (broken, "BatchNormalization folded"))
    result = spa_cli.prune(verbose(), tidy=True, **ASKED)
    (warning,) = result.warnings
    assert warning.startswith("tidy=True left BatchNormalization where it was: output 'y' differs by ")
    assert left(result.model) == {"Conv": 2, "Relu": 1, "BatchNormalization": 1}


def test_a_latency_that_tidying_alone_gives(monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.trial.trials.Trials.latency_left", lambda *_: 0.3)
    with pytest.raises(UnreachableError, match=r"target_latency 0.5 needs no cut: tidy=True alone leaves 0.300 .* ask"):
        spa_cli.prune(verbose(), tidy=True, target_latency=0.5, method="l1")


@pytest.mark.parametrize("repair", [False, True])
def test_a_size_is_that_of_the_finished_file(tmp_path, repair) -> None:
    path, asked = model_path("digits_resnet"), {"method": "l1", "repair": repair, "round_to": 1}
    out = tmp_path / "s.onnx"
    result = spa_cli.prune(path, out, tidy=True, target_size=200_000, **asked)
    assert 190_000 < out.stat().st_size == result.after.bytes <= 200_000
    assert result.plan.about["tidy"]["batch-norms"] == 13


def test_a_sweep_takes_it(tmp_path) -> None:
    asked = {"points": (0.125,), "by": "ratio", "keep_models": True, "method": "l1", "round_to": 1}
    found = spa_cli.sweep(verbose(), tmp_path, tidy=True, **asked)
    assert left(onnx.load(tmp_path / "ratio-0.125.onnx")) == {"Conv": 2, "Relu": 1} and not found.warnings


def test_the_summary_says_what_was_done(capsys) -> None:
    result = spa_cli.prune(verbose(), tidy=True, **ASKED)
    prune_table(Console(width=80), prune_json(result, "spa.prune/1"), "pruned")
    out = capsys.readouterr().out
    assert "tidied: 1 idle, 2 constant, 1 unused, 1 BatchNormalization folded" in out
    assert max(map(len, out.splitlines())) <= 80
