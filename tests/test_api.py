"""The Python API is the command line's twin: whatever one can be told, the other can."""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
import typer

import spa_cli
from spa_cli.cli.app import commands
from spa_cli.errors import OptionError, SpaError, UsageError
from spa_cli.options import Options, arguments
from spa_cli.plan import Plan
from spa_cli.report.schemas import NAMES
from spa_cli.sweeping import run
from tests.cli.running import spa
from tests.samples import calib_path, model_path

MLP, LSTM = model_path("digits_mlp"), model_path("digits_lstm")
# where results are shown, and what a program has its own means for (logging, exceptions, dictionaries)
SHOWN = {"json", "quiet", "verbose", "log_file", "debug", "config", "help"}
# a process of its own for one model: a program starts it itself
APART = {"isolate", "time_limit", "memory_limit"}
ONLY_SHOWN = {"inspect": {"everything"}, "verify": {"github"}}
# "-o" and what is pruned are called otherwise
RENAMED = {
    "prune": {"output": "out", "model": "models"},
    "sweep": {"output": "folder"},
    **{command: {"output": "out"} for command in ("apply", "tune")},
}
# what is called while it works: on the command line there are bars
CALLED = {"step_done", "progress"}
COMMANDS = typer.main.get_command(commands()).commands


def _told(*functions: str) -> set[str]:
    """What these functions take, with what they hand on."""
    found = set()
    for name in functions:
        for parameter in inspect.signature(getattr(spa_cli, name)).parameters.values():
            handed_on = re.fullmatch(r"Unpack\[(\w+)\]", str(parameter.annotation))
            found |= getattr(arguments, handed_on[1]).__optional_keys__ if handed_on else {parameter.name}
    return found


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_what_the_command_line_takes_python_takes(command) -> None:
    twins = {"prune": ("prune", "prune_many"), "apply": ("apply", "apply_weights")}.get(command, (command,))
    flags = {p.name for p in COMMANDS[command].params} - SHOWN - ONLY_SHOWN.get(command, set())
    flags -= APART if command != "prune" else set()
    asked = {RENAMED.get(command, {}).get(name, name) for name in flags}
    # a single model is a file
    assert asked == _told(*twins) - CALLED - ({"model"} if command == "prune" else set())


def test_every_verb_is_there_and_documented() -> None:
    assert set(COMMANDS) <= set(spa_cli.__all__)
    for name in set(spa_cli.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(spa_cli, name)), name


def test_defaults_are_the_same() -> None:
    """Of what is no declared option (tests/options compares those)."""
    for command, parameters in COMMANDS.items():
        twin = inspect.signature(getattr(spa_cli, command)).parameters
        for parameter in parameters.params:
            name = RENAMED.get(command, {}).get(parameter.name, parameter.name)
            if name in twin and twin[name].default is not inspect.Parameter.empty and not parameter.required:
                text, default = parameter.default, twin[name].default
                same = text == default or (text is None and default == ()) or run.budgets_in(text) == default
                assert same, (command, name)


def test_a_module_does_not_hide_a_function() -> None:
    importlib.import_module("spa_cli.operators.registry")
    for name in set(spa_cli.__all__) - {"__version__"}:
        found = getattr(spa_cli, name)
        assert inspect.isfunction(found) or issubclass(found, SpaError), name


def test_many_are_pruned_through_a_cache(tmp_path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    asked = {"plan_out": tmp_path / "plans", "cache": tmp_path / "cache", "ratio": 0.3, "method": "l1"}
    found = list(spa_cli.prune_many([MLP, bad, LSTM], tmp_path / "out", **asked))
    assert [o.exit_code for o in found] == [0, 3, 0]
    assert isinstance(found[1].error, SpaError)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [LSTM.name, MLP.name]
    again = list(spa_cli.prune_many([MLP, LSTM], tmp_path / "out", force=True, **asked))
    assert [o.report and o.report["cached"] for o in again] == [True, True]
    alone = tmp_path / "alone.onnx"
    assert spa("prune", MLP, "-o", alone, "--ratio", 0.3, "--method", "l1").code == 0
    assert alone.read_bytes() == (tmp_path / "out" / MLP.name).read_bytes()


@pytest.mark.parametrize("kind", [str, Path])
def test_one_path_of_many_is_no_list_of_its_characters(tmp_path, kind) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(MLP, folder)
    for given in (MLP, folder):
        (found,) = spa_cli.prune_many(kind(given), tmp_path / "out", ratio=0.3, method="l1", isolate=False, force=True)
        assert (Path(found.input).name, found.error) == (MLP.name, None)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: spa_cli.prune(5, method="l1", ratio=0.5), "a model can't be of type int"),  # type: ignore[arg-type]
        (lambda: [*spa_cli.prune_many([5], "out", ratio=0.5)], "a model can't be of type int"),  # type: ignore[list-item]
        (lambda: spa_cli.inspect(b"m.onnx"), "a model can't be of type bytes"),  # type: ignore[arg-type]
        (lambda: spa_cli.apply({}, "m.onnx"), "a plan can't be of type dict"),  # type: ignore[arg-type]
        (lambda: spa_cli.verify("m.onnx", "m.onnx", plan=3), "a file can't be of type int"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_path_is_named(call, what) -> None:
    with pytest.raises(OptionError, match=f"{what}; give the path of a file"):
        call()


def test_a_plan_can_be_edited_and_carried_out() -> None:
    chosen = spa_cli.prune(MLP, ratio=0.3, method="l1", dry_run=True).plan
    small = spa_cli.apply(Plan(chosen.kept, chosen.about), MLP)
    assert small.after.params < small.before.params
    assert small.plan.kept == chosen.kept


def test_a_sweep_leaves_the_same_files(tmp_path) -> None:
    asked = {"method": "l1", "test": calib_path("digits_mlp")}
    found = spa_cli.sweep(MLP, tmp_path / "a", points=(0.8, 0.5), picture=[tmp_path / "a.svg"], **asked)
    assert [p.asked for p in found.points] == [0.8, 0.5]
    assert (tmp_path / "a.svg").read_text("utf-8").startswith("<?xml")
    command = ("sweep", MLP, "-o", tmp_path / "b", "--points", "0.8,0.5", "--method", "l1", "--test", asked["test"])
    assert spa(*command).code == 0
    assert {p.name for p in (tmp_path / "a").iterdir()} == {p.name for p in (tmp_path / "b").iterdir()}


@pytest.mark.parametrize(
    ("name", "one"),
    [("only", "coefficient"), ("ignore", "coefficient"), ("role_weight", "consumer=0.5"), ("focus", "output=label")],
)
def test_a_string_is_one_of_a_list_not_its_characters(name, one) -> None:
    asked = {"ratio": 0.3, "method": "l2"}
    assert {getattr(Options(**asked, **{name: value}), name) for value in (one, [one], (one,))} == {(one,)}
    assert getattr(Options(**asked, **{name: None}), name) == ()
    found = [spa_cli.prune(MLP, **asked, **{name: value}).plan.kept for value in (one, (one,))]
    assert found[0] == found[1]


def test_gates_are_written_as_junit(tmp_path) -> None:
    found = spa_cli.verify(MLP, MLP, junit=tmp_path / "j.xml", max_drift=0.1, max_size="50%")
    assert [(g.name, g.passed) for g in found.gates] == [("max-drift", True), ("max-size", False)]
    assert not found.passed
    assert ElementTree.parse(tmp_path / "j.xml").getroot().get("failures") == "1"
    with pytest.raises(SpaError):
        spa_cli.verify(MLP, LSTM, junit=tmp_path / "k.xml")
    assert ElementTree.parse(tmp_path / "k.xml").getroot().get("failures") == "1"


def test_junit_replaces_nothing_that_was_given(tmp_path, monkeypatch) -> None:
    """The refusals of the command, before any work, whatever the models are."""
    monkeypatch.setattr("spa_cli.verification.compare.compare", lambda *_: pytest.fail("work was done"))
    model, plan, linked = (tmp_path / n for n in ("model.onnx", "plan.json", "linked.onnx"))
    model.write_bytes(MLP.read_bytes())
    linked.symlink_to(model)
    plan.write_bytes(b"precious")
    before = {p: p.read_bytes() for p in (model, plan)}
    for given in ((model, MLP), (str(MLP), str(model)), (model, onnx.load(MLP)), (onnx.load(MLP), model)):
        for junit in (model, str(model), linked):
            with pytest.raises(UsageError, match=r"junit '.*' is one of the models; name another file"):
                spa_cli.verify(*given, junit=junit)
    with pytest.raises(UsageError, match="is the plan, or the samples; name another file"):
        spa_cli.verify(MLP, MLP, plan=plan, junit=plan)
    for junit in (tmp_path, tmp_path / "none" / "j.xml"):
        with pytest.raises(UsageError, match="can't be written: it is a folder, or in none; name a file"):
            spa_cli.verify(MLP, MLP, junit=junit)
    assert {p: p.read_bytes() for p in before} == before


def test_lists_are_those_of_the_commands() -> None:
    assert "obspa" in [c["name"] for c in spa_cli.criteria()["criteria"]]
    assert {o.name for o in spa_cli.operators("batchnorm")} >= {"BatchNormalization"}
    assert spa_cli.operators("no such operator") == []
    assert {spa_cli.schema(name)["title"] for name in NAMES} == {f"spa.{name}/1" for name in NAMES}
    with pytest.raises(UsageError, match="there is no schema 'prunes'"):
        spa_cli.schema("prunes")


def test_a_room_does_not_take_the_place_of_a_function() -> None:
    from spa_cli.operators import registry

    assert registry.record_of.__name__ == "record_of"
    assert [o.name for o in spa_cli.operators("TopK")] == ["TopK"]
