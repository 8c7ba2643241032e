"""``--no-run``: a model that onnxruntime can't run is cut by its structure, and what was not verified is said."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa_cli
from spa_cli.errors import UsageError
from spa_cli.report import schemas
from tests.builders import build
from tests.cli.running import refused, spa
from tests.plugins import as_standard, beside, in_no_domain

UNRUN = "what the outputs are, and how long they take: the model was not run"
PLUGIN = "'Plug_p' (1 of 9 nodes)"
BUT = f"that removing equals zeroing in {PLUGIN}, which onnxruntime lacks or can't feed: it was in all others"


def saved(file: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, file)
    return file


@pytest.fixture
def plugin(tmp_path) -> Path:
    return saved(tmp_path / "m.onnx", beside())


def test_a_shape_that_only_the_file_could_tell_is_asked_for(tmp_path) -> None:
    model = build(
        "(float[N,8] x) => (float[N,4] y) { q = trt.Pre(x)  a = MatMul(q, w)  r = Relu(a)  y = MatMul(r, v) }",
        domains={"trt": 1},
        w=(8, 16),
        v=(16, 4),
    )
    said = refused(3, "prune", saved(tmp_path / "m.onnx", model), "-o", tmp_path / "s.onnx", "--ratio", 0.3, "--no-run")
    assert "the shape of 'q' is not known before the model runs: trt::Pre gives it, and the file declares none" in said
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("q", onnx.TensorProto.FLOAT, ["N", 8]))
    assert spa_cli.prune(model, ratio=0.3, run=False).cut_groups


def test_a_refusal_tells_of_it(plugin) -> None:
    said = refused(3, "prune", plugin, "-o", plugin.parent / "s.onnx", "--ratio", 0.3)
    assert said.startswith("onnxruntime can't load 'm.onnx': ")
    assert said.endswith("; give --no-run to go by its structure only, or export it with operators it knows")


@pytest.mark.parametrize("budget", ["ratio", "target_macs", "target_params", "target_size"])
@pytest.mark.parametrize("write", [beside, lambda: in_no_domain(beside())], ids=["own domain", "standard domain"])
def test_with_the_operator_back_in_its_place_removing_is_zeroing(budget, write, tmp_path) -> None:
    """The proof of it all: what was cut without running is right where it does run."""
    model, small, plan = saved(tmp_path / "m.onnx", write()), tmp_path / "s.onnx", tmp_path / "p.json"
    asked = {budget: 0.5} if budget == "ratio" else {budget: "70%"}
    result = spa_cli.prune(model, small, plan_out=plan, run=False, **asked)
    assert len(result.cut_groups) == 2
    runs, cut = (
        saved(tmp_path / "r.onnx", as_standard(beside())),
        saved(tmp_path / "c.onnx", as_standard(onnx.load(small))),
    )
    assert spa_cli.verify(runs, cut, plan=plan).zeroing == "equal"


def test_what_was_not_verified_is_said_everywhere(plugin) -> None:
    small, plan = plugin.parent / "s.onnx", plugin.parent / "p.json"
    ran = spa("prune", plugin, "-o", small, "--ratio", 0.3, "--no-run", "--plan-out", plan)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[:2] == [f"not verified: {UNRUN}", f"not verified: {BUT}"]
    assert "ranked by l2, cut by structure only: signature and shapes are the original's" in lines
    assert not [line for line in lines if "drift" in line or "latency" in line]
    assert ran.err.startswith(
        "warning: widths were not chosen by the time they take, which is not known; give --round-to 8"
    )
    assert json.loads(plan.read_text())["not_verified"] == [UNRUN, BUT]
    report = json.loads(spa("prune", plugin, "-o", small, "--ratio", 0.3, "--no-run", "--json", "--force").out)
    jsonschema.Draft202012Validator(schemas.schema("prune")).validate(report)
    assert report["not_verified"] == [UNRUN, BUT]
    said = {"agreement": None, "agreement_interval": None, "interval": None, "outputs": [], "samples": 0, "on": ""}
    assert report["drift"] == {"relative_l2": None, "resembles": None, "perplexity": None, **said}
    assert report["accuracy"] is None
    assert (report["method"], report["timings"], report["after"]["latency_ms"]) == ("l2", [], None)


def test_widths_by_a_profile_need_no_run(plugin) -> None:
    ran = spa("prune", plugin, "-o", plugin.parent / "s.onnx", "--ratio", 0.3, "--no-run", "--device", "cpu-avx512")
    assert (ran.code, ran.err) == (0, "")


def test_scores_that_are_given_decide(plugin) -> None:
    keep = np.zeros((8, 3, 3, 3), np.float32)
    keep[[1, 4]] = 1
    np.savez(plugin.parent / "scores.npz", w1=keep)
    method = f"scores:{plugin.parent / 'scores.npz'}"
    result = spa_cli.prune(plugin, ratio=0.7, method=method, run=False, only="w1")
    assert result.plan.kept["w1"] == {"0": [1, 4]}


@pytest.mark.parametrize("method", ["l1", "lamp", "fpgm", "random", "l1+lamp"])
def test_criteria_that_look_at_weights_only(plugin, method) -> None:
    assert spa_cli.prune(plugin, ratio=0.5, method=method, run=False).after.channels == 10


def test_rounds_and_folders_need_no_run(plugin) -> None:
    many = plugin.parent / "many"
    ran = spa("prune", plugin, plugin.parent, "-o", many, "--ratio", 0.3, "--no-run", "--rounds", 2)
    assert ran.code == 2  # the same name twice
    ran = spa("prune", plugin.parent, "-o", many, "--ratio", 0.3, "--no-run", "--rounds", 2)
    assert ran.code == 0, ran.err
    assert "not run" in ran.out
    assert (many / "m.onnx").exists()


def test_a_plan_is_carried_out_on_a_retrained_model(plugin) -> None:
    folder = plugin.parent
    spa("prune", plugin, "-o", folder / "s.onnx", "--ratio", 0.3, "--no-run", "--plan-out", folder / "p.json")
    trained = beside()
    for tensor in trained.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 2, tensor.name))
    other = saved(folder / "t.onnx", trained)
    assert refused(3, "apply", folder / "p.json", other, "-o", folder / "u.onnx").startswith(
        "onnxruntime can't load 't.onnx'"
    )
    ran = spa("apply", folder / "p.json", other, "-o", folder / "u.onnx", "--no-run", "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    jsonschema.Draft202012Validator(schemas.schema("apply")).validate(report)
    assert report["not_verified"] == [UNRUN, BUT]
    small, twice = onnx.load(folder / "s.onnx"), onnx.load(folder / "u.onnx")
    for one, two in zip(small.graph.initializer, twice.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(one) * 2, numpy_helper.to_array(two))


def test_where_it_does_run_a_plan_says_nothing_of_that(plugin) -> None:
    folder = plugin.parent
    spa("prune", plugin, "-o", folder / "s.onnx", "--ratio", 0.3, "--no-run", "--plan-out", folder / "p.json")
    runs = saved(folder / "r.onnx", as_standard(beside()))
    result = spa_cli.apply(folder / "p.json", runs)
    assert result.not_verified == []
    assert "not_verified" not in result.plan.about


def test_structures_are_compared(plugin) -> None:
    folder = plugin.parent
    small, plan = folder / "s.onnx", folder / "p.json"
    spa("prune", plugin, "-o", small, "--ratio", 0.3, "--no-run", "--plan-out", plan)
    assert refused(3, "verify", plugin, small).startswith("onnxruntime can't load 'm.onnx'")
    ran = spa("verify", plugin, small, "--no-run", "--plan", plan, "--max-size", "90%", "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    jsonschema.Draft202012Validator(schemas.schema("verify")).validate(report)
    assert (report["passed"], report["zeroing"], report["latency_ratio"]) == (True, "equal", None)
    assert report["not_verified"] == [UNRUN, BUT]
    ran = spa("verify", plugin, small, "--no-run", "--github")
    assert ran.out.startswith(f"not verified: {UNRUN}\n")
    assert "the plan's cut" not in ran.out
    assert "0 gates passed by structure only, " in ran.err
    assert spa("verify", plugin, small, "--no-run", "--max-size", "10%").code == 1


def test_another_cut_than_the_plan_s_is_found(plugin) -> None:
    folder = plugin.parent
    small, plan = folder / "s.onnx", folder / "p.json"
    asked = ("prune", plugin, "-o", small, "--no-run", "--only", "w1", "--force")
    spa(*asked, "--ratio", 0.3, "--plan-out", plan)
    # as many channels, and others
    spa(*asked, "--ratio", 0.3, "--method", "random", "--seed", 3)
    found = json.loads(spa("verify", plugin, small, "--no-run", "--plan", plan, "--json").out)
    assert "differs by" in found["zeroing"]
    spa(*asked, "--ratio", 0.6)
    said = refused(1, "verify", plugin, small, "--no-run", "--plan", plan)
    assert said.startswith("'w1' has shape (3, 3, 3, 3), the plan leaves (6, 3, 3, 3)")
    other = saved(folder / "o.onnx", _spoiled())
    assert "'o.onnx' can't take the place of 's.onnx'" in refused(1, "verify", small, other, "--no-run")


def _spoiled() -> onnx.ModelProto:
    model = beside()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    return model


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"target_latency": 0.5}, "target_latency"),
        ({"max_drift": 0.5}, "max_drift"),
        ({"min_accuracy": 0.5}, "min_accuracy"),
        ({"ratio": 0.5, "min_agreement": 0.5}, "min_agreement"),
        ({"ratio": 0.5, "calib": "c.npz"}, "calib"),
        ({"ratio": 0.5, "test": "c.npz"}, "test"),
        ({"ratio": 0.5, "evaluate": "python {model}"}, "evaluate"),
        ({"ratio": 0.5, "repair": True}, "repair=True"),
        ({"ratio": 0.5, "tidy": True}, "tidy=True"),
        ({"ratio": 0.5, "provider": "cuda"}, "provider"),
    ],
)
def test_what_needs_a_run_is_refused_by_name(options, flag) -> None:
    with pytest.raises(
        UsageError, match=f"^run=False can't be used with {flag}, for which the model is run; leave one out$"
    ):
        spa_cli.prune("m.onnx", run=False, **options)


@pytest.mark.parametrize(
    ("method", "named"), [("obspa", "obspa"), ("wanda", "wanda"), ("l1+obspa", "obspa"), ("taylor", "taylor")]
)
def test_criteria_that_need_a_run_are_refused_by_name(method, named) -> None:
    with pytest.raises(
        UsageError, match=f"^run=False can't be used with method {named}, which looks at what the model"
    ):
        spa_cli.prune("m.onnx", run=False, method=method, ratio=0.5)


def test_gates_and_reports_that_need_a_run_are_refused_by_name(plugin, tmp_path) -> None:
    for flag, value in (("--max-drift", 1), ("--min-agreement", 0.5), ("--max-latency-ratio", 2)):
        said = refused(2, "verify", plugin, plugin, "--no-run", flag, value)
        assert said == f"--no-run can't be used with {flag}, for which both models are run; leave one out"
    said = refused(
        2, "prune", plugin, "-o", tmp_path / "s.onnx", "--ratio", 0.5, "--no-run", "--report", tmp_path / "r.html"
    )
    assert said == "--report shows what the model gives, which --no-run does not ask it for; leave one out"
    said = refused(2, "sweep", plugin, "-o", tmp_path / "sweep", "--no-run")
    assert said == "a sweep runs every model it makes; leave out --no-run"
    said = refused(
        2, "apply", tmp_path / "p.json", "--weights", tmp_path / "w.npz", "-o", tmp_path / "v.npz", "--no-run"
    )
    assert said == "--no-run says nothing about --weights; leave it out"


def test_a_plan_of_a_tidied_model_needs_a_run(plugin) -> None:
    plan = plugin.parent / "p.json"
    plan.write_text(json.dumps({"schema": "spa.plan/1", "kept": {"w1": {"0": [0]}}, "tidy": {"idle": 1}}))
    said = refused(2, "apply", plan, plugin, "-o", plugin.parent / "s.onnx", "--no-run")
    assert said == "the plan is of a tidied model, and tidying is checked by running it; leave out --no-run"
    said = refused(2, "verify", plugin, plugin, "--plan", plan, "--no-run")
    assert said == "the plan is of a tidied model, which is compared by running both; leave out --no-run"


def test_a_key_of_the_configuration(plugin, monkeypatch) -> None:
    monkeypatch.chdir(plugin.parent)
    (plugin.parent / "spa.toml").write_text("run = false\n")
    assert spa("prune", plugin, "-o", plugin.parent / "s.onnx", "--ratio", 0.3).code == 0
    assert spa("verify", plugin, plugin.parent / "s.onnx").code == 0
