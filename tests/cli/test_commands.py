"""The commands on the sample models: what they print, write, and leave alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from spa_cli.runtime.load import load
from tests.cli.running import contents, refused, spa
from tests.samples import SAMPLES, calib_path, model_path

ROOT = Path(__file__).resolve().parents[2]
RESNET = model_path("digits_resnet")


def _strict_json(text: str) -> dict:
    """JSON as the standard has it: no NaN, no Infinity."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


# -- inspect ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_inspect_json_keeps_its_contract(name) -> None:
    ran = spa("inspect", model_path(name), "--json")
    assert (ran.code, ran.err) == (0, "")
    report = _strict_json(ran.out)
    assert report["schema"] == "spa.inspect/1"
    assert {"groups", "frozen", "model"} <= set(report)
    assert {"params", "macs", "bytes", "opset"} <= set(report["model"])
    assert report["model"]["bytes"] == model_path(name).stat().st_size
    ids = [g["id"] for g in report["groups"]]
    assert ids
    assert len(ids) == len(set(ids))
    for group in report["groups"]:
        keys = {"id", "channels", "exact", "blocks", "members", "params_per_channel", "macs_per_channel"}
        assert keys <= set(group)
        assert group["channels"] >= 1
        assert group["blocks"] >= 1
        assert group["params_per_channel"] > 0
        for member in group["members"]:
            assert set(member) >= {"tensor", "axis", "role", "node"}
            assert member["role"] in ("producer", "pass-through", "consumer")
            assert member["node"]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_axis_of_every_weight_is_removable_or_frozen_with_a_reason(name) -> None:
    report = json.loads(spa("inspect", model_path(name), "--json").out)
    grouped = {(m["tensor"], m["axis"]) for g in report["groups"] for m in g["members"]}
    frozen = {(f["tensor"], f["axis"]) for f in report["frozen"]}
    graph = load(model_path(name)).graph
    assert grouped | frozen == {(w, axis) for w in graph.weights() for axis in range(len(graph.shape(w)))}
    assert not grouped & frozen
    assert all(f["reason"].strip() for f in report["frozen"])


@pytest.mark.parametrize("name", SAMPLES)
def test_inspect_names_the_model_and_every_group(name) -> None:
    out = spa("inspect", model_path(name), "--all").out
    report = json.loads(spa("inspect", model_path(name), "--json").out)
    assert out.startswith(model_path(name).name)
    assert f"{len(report['groups'])} groups, {report['model']['channels']} removable channels" in out
    quiet = ("has a single channel", "is the window of a convolution", "runs over the directions of a recurrent layer")
    # a reason is wrapped into its column
    words = {word for f in report["frozen"] if f["reason"] not in quiet for word in f["reason"].split()}
    assert words <= set(out.split())


# -- prune, apply, verify ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pruned(tmp_path_factory) -> tuple[Path, Path, dict]:
    """digits_resnet at 0.3 with its plan and report."""
    folder = tmp_path_factory.mktemp("pruned")
    out, plan = folder / "small.onnx", folder / "plan.json"
    before = RESNET.read_bytes()
    ran = spa("prune", RESNET, "-o", out, "--ratio", 0.2, "--method", "l1", "--plan-out", plan, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert RESNET.read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == ["plan.json", "small.onnx"]
    return out, plan, _strict_json(ran.out)


def test_prune_json_keeps_its_contract(pruned) -> None:
    out, _, report = pruned
    assert report["schema"] == "spa.prune/1"
    assert report["output"] == str(out)
    for side in ("before", "after"):
        assert set(report[side]) == {"channels", "params", "macs", "bytes", "latency_ms"}
        assert all(v > 0 for v in report[side].values())
    assert report["after"]["channels"] == report["before"]["channels"] - round(0.2 * report["before"]["channels"])
    assert report["after"]["bytes"] == out.stat().st_size < report["before"]["bytes"] == RESNET.stat().st_size
    assert report["rf"] == pytest.approx(report["before"]["macs"] / report["after"]["macs"])
    assert report["rp"] == pytest.approx(report["before"]["params"] / report["after"]["params"])
    assert set(report["drift"]) >= {"relative_l2", "agreement"}
    after = json.loads(spa("inspect", out, "--json").out)["model"]
    assert (after["params"], after["macs"]) == (report["after"]["params"], report["after"]["macs"])


def test_the_plan_lists_what_each_weight_keeps(pruned) -> None:
    out, plan, _ = pruned
    data = json.loads(plan.read_text())
    assert data["schema"] == "spa.plan/1"
    before, after = (load(p).graph for p in (RESNET, out))
    for name in before.weights():
        kept = data["kept"].get(name, {})
        wanted = [len(kept.get(str(i), range(size))) for i, size in enumerate(before.shape(name))]
        assert list(after.shape(name)) == wanted
        assert np.array_equal(
            after.array(name),
            before.array(name)[np.ix_(*(kept.get(str(i), range(s)) for i, s in enumerate(before.shape(name))))],
        )


@pytest.mark.parametrize("name", SAMPLES)
def test_applying_the_plan_makes_the_same_weights(name, tmp_path) -> None:
    first, second, plan = (tmp_path / n for n in ("a.onnx", "b.onnx", "plan.json"))
    ran = spa("prune", model_path(name), "-o", first, "--ratio", 0.3, "--method", "l1", "--plan-out", plan)
    assert ran.code == 0, ran.err
    ran = spa("apply", plan, model_path(name), "-o", second, "--json")
    assert ran.code == 0, ran.err
    assert _strict_json(ran.out)["schema"] == "spa.apply/1"
    a, b = (onnx.load(p) for p in (first, second))
    assert [t.SerializeToString() for t in a.graph.initializer] == [t.SerializeToString() for t in b.graph.initializer]
    assert [n.SerializeToString() for n in a.graph.node] == [n.SerializeToString() for n in b.graph.node]


def test_applying_a_plan_does_not_claim_its_repair(tmp_path) -> None:
    plan = tmp_path / "plan.json"
    asked = ("--ratio", 0.3, "--calib", calib_path("digits_resnet"), "--calib-samples", 32, "--plan-out", plan)
    assert "layers refitted" in spa("prune", RESNET, "-o", tmp_path / "a.onnx", *asked).out
    ran = spa("apply", plan, RESNET, "-o", tmp_path / "b.onnx")
    assert "the weights were cut, not repaired: a plan says what stays" in ran.err
    assert "refitted" not in ran.out


def test_applying_the_plan_to_a_retrained_model(pruned, tmp_path) -> None:
    _, plan, _ = pruned
    model = onnx.load(RESNET)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim:
            tensor.CopyFrom(numpy_helper.from_array(values + np.float32(0.01), tensor.name))
    retrained, small = tmp_path / "retrained.onnx", tmp_path / "small.onnx"
    onnx.save(model, retrained)
    ran = spa("apply", plan, retrained, "-o", small)
    assert ran.code == 0, ran.err
    kept = json.loads(plan.read_text())["kept"]["fc.weight"]["1"]
    assert np.array_equal(load(small).graph.array("fc.weight"), load(retrained).graph.array("fc.weight")[:, kept])


def test_an_edited_plan_is_obeyed(pruned, tmp_path) -> None:
    _, plan, _ = pruned
    data = json.loads(plan.read_text())
    groups = json.loads(spa("inspect", RESNET, "--json").out)["groups"]
    members = next(g["members"] for g in groups if g["tensor"] == "stage1.0.conv1.weight")
    data["kept"] = {}
    for member in members:
        data["kept"].setdefault(member["tensor"], {})[str(member["axis"])] = [1, 3, 5]
    (tmp_path / "edited.json").write_text(json.dumps(data))
    ran = spa("apply", tmp_path / "edited.json", RESNET, "-o", tmp_path / "small.onnx")
    assert ran.code == 0, ran.err
    before, after = load(RESNET).graph, load(tmp_path / "small.onnx").graph
    name = "stage1.0.conv1.weight"
    assert np.array_equal(after.array(name), before.array(name)[[1, 3, 5]])
    assert after.shape("fc.weight") == before.shape("fc.weight")


def test_verify_is_a_gate(pruned) -> None:
    out, plan, report = pruned
    arguments = ("verify", RESNET, out, "--calib", calib_path("digits_resnet"), "--json")
    ran = spa(*arguments)
    assert ran.code == 0
    found = _strict_json(ran.out)
    assert found["schema"] == "spa.verify/1"
    assert found["passed"] is True
    drift, agreement = found["drift"]["relative_l2"], found["drift"]["agreement"]
    assert drift > 0
    assert 0 < agreement < 1
    assert found["before"]["params"] == report["before"]["params"]
    assert spa(*arguments, "--max-drift", drift * 1.01, "--min-agreement", agreement * 0.99).code == 0
    for gate in (("--max-drift", drift * 0.9), ("--min-agreement", agreement + 0.01)):
        failed = spa(*arguments, *gate)
        assert failed.code == 1
        assert gate[0] in _strict_json(failed.out)["failures"][0]
        assert gate[0] in spa(*arguments[:-1], *gate).out
    with_plan = _strict_json(spa(*arguments, "--plan", plan).out)
    assert with_plan["zeroing"] == "equal"


def test_verify_of_a_model_with_itself() -> None:
    report = _strict_json(spa("verify", RESNET, RESNET, "--json", "--max-drift", 0, "--min-agreement", 1).out)
    assert (report["drift"]["relative_l2"], report["drift"]["agreement"]) == (0, 1)


def test_verify_refuses_what_can_not_take_the_place() -> None:
    ran = spa("verify", RESNET, model_path("digits_lstm"))
    assert ran.code == 1
    assert "are not those of the original" in ran.err


def test_verify_with_a_plan_looks_at_the_pruned_file(pruned, tmp_path) -> None:
    out, plan, _ = pruned
    model = onnx.load(out)
    tensor = next(t for t in model.graph.initializer if t.name == "fc.weight")
    tensor.CopyFrom(numpy_helper.from_array(np.zeros(tuple(tensor.dims), np.float32), tensor.name))
    onnx.save(model, tmp_path / "broken.onnx")
    report = _strict_json(spa("verify", RESNET, tmp_path / "broken.onnx", "--plan", plan, "--json").out)
    assert report["zeroing"] != "equal"


def test_verify_with_a_plan_says_why_a_repaired_file_differs_from_zeroing(tmp_path) -> None:
    plan, found = tmp_path / "plan.json", {}
    for repair in ("--repair", "--no-repair"):
        out = tmp_path / f"{repair}.onnx"
        asked = ("--method", "l1", "--ratio", 0.3, repair, "--plan-out", plan, "--force")
        assert spa("prune", model_path("digits_mlp"), "-o", out, *asked).code == 0
        found[repair] = _strict_json(spa("verify", model_path("digits_mlp"), out, "--plan", plan, "--json").out)
    assert found["--no-repair"]["zeroing"] == "equal"
    zeroing = found["--repair"]["zeroing"]
    assert zeroing.endswith(", as it should: what stays was repaired to give what the original gives")


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_dry_run_writes_nothing(tmp_path, json_flag) -> None:
    plan = tmp_path / "plan.json"
    ran = spa(
        "prune",
        RESNET,
        "-o",
        tmp_path / "s.onnx",
        "--ratio",
        0.3,
        "--method",
        "l1",
        "--plan-out",
        plan,
        "--dry-run",
        *json_flag,
    )
    assert ran.code == 0, ran.err
    assert contents(tmp_path) == {}
    assert json.loads(ran.out)["output"] is None if json_flag else "nothing was written" in ran.out


def test_force_replaces_the_output(tmp_path) -> None:
    out = tmp_path / "small.onnx"
    out.write_bytes(b"old")
    assert spa("prune", RESNET, "-o", out, "--ratio", 0.3, "--method", "l1", "--force").code == 0
    onnx.checker.check_model(str(out))
    assert list(contents(tmp_path)) == ["small.onnx"]


def test_the_same_seed_gives_the_same_file(tmp_path) -> None:
    made = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / name
        assert spa("prune", RESNET, "-o", out, "--ratio", 0.3, "--method", "random", "--seed", seed).code == 0
        made.append([t.SerializeToString() for t in onnx.load(out).graph.initializer])
    assert made[0] == made[1] != made[2]


def test_json_is_json_even_if_the_model_gives_nan(tmp_path) -> None:
    model = onnx.load(model_path("digits_lstm"))
    tensor = next(t for t in model.graph.initializer if t.name == "fc.bias")
    tensor.CopyFrom(numpy_helper.from_array(np.full(10, np.nan, np.float32), "fc.bias"))
    onnx.save(model, tmp_path / "nan.onnx")
    plan = tmp_path / "plan.json"
    given = ("--ratio", 0.3, "--method", "l1", "--plan-out", plan)
    assert spa("prune", model_path("digits_lstm"), "-o", tmp_path / "sound.onnx", *given).code == 0
    ran = spa("apply", plan, tmp_path / "nan.onnx", "-o", tmp_path / "s.onnx", "--json")
    assert ran.code == 0
    assert _strict_json(ran.out)["drift"]["relative_l2"] is None


# -- no stream --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "options", "named"),
    [
        ("prune", ("-o", "-"), "output"),
        ("prune", ("-o", "s.onnx", "--plan-out", "-"), "plan-out"),
        ("prune", ("-o", "s.onnx", "--report", "-"), "report"),
        ("prune", ("-o", "s.onnx", "--cache", "-"), "cache"),
        ("prune", ("-o", "s.onnx", "--log-file", "-"), "log-file"),
        ("sweep", ("-o", "-"), "output"),
        ("sweep", ("-o", "s", "--picture", "a.svg", "--picture", "-"), "picture"),
        ("inspect", ("--html", "-"), "html"),
        ("verify", ("{model}", "--junit", "-"), "junit"),
        ("prune", ("{model}", "-o", "-"), "output"),
    ],
)
def test_nothing_is_written_to_standard_output(command, options, named, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = model_path("digits_resnet").resolve()
    ratio = ("--ratio", 0.3) if command == "prune" else ()
    said = refused(2, command, model, *(o.format(model=model) for o in options), *ratio)
    assert said == f"--{named} '-' is no file, and only tables and --json go to standard output; give a file name"
    assert not list(tmp_path.iterdir())


def test_apply_writes_no_model_to_standard_output(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(2, "apply", "plan.json", model_path("digits_resnet").resolve(), "-o", "-")
    assert said.startswith("--output '-' is no file")


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/null", "pipe"])
def test_devices_and_pipes_are_not_replaced(name, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    place = tmp_path / name
    before = os.lstat(place)
    options = ("--ratio", 0.3, "--method", "l1", "--force")
    for arguments in (("-o", place), ("-o", tmp_path / "s.onnx", "--plan-out", place)):
        said = refused(2, "prune", model_path("digits_resnet"), *arguments, *options)
        assert said == f"the output '{place}' is a device or a pipe; give a file name"
    assert os.lstat(place).st_ino == before.st_ino
