"""Every option is declared once: commands, keyword arguments and defaults are those of the declaration."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import typer

import spa_cli
from spa_cli.cli import parameters
from spa_cli.cli.app import commands
from spa_cli.errors import OptionError, UsageError
from spa_cli.options import BUDGETS, POINTS, READING, SAMPLES, Options, arguments
from spa_cli.options.declare import declared
from spa_cli.options.limits import Limits, bytes_of
from spa_cli.options.tune import Training
from spa_cli.options.words import size

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = typer.main.get_command(commands()).commands
NAMES = [one.name for one, _ in declared(Options)]
LIMITS = [one.name for one, _ in declared(Limits)]
TIMING = {"batch", "threads"}
DATA = {"judge_as", "calib", *READING, "evaluate", "provider", "input_shape", "run", *TIMING}


def _options(command: str) -> list[str]:
    """The declared options of a command, in its order."""
    return [p.name for p in COMMANDS[command].params if p.name in {*NAMES, *LIMITS}]


def test_all_fields_are_options_but_two() -> None:
    assert [f.name for f in fields(Options)] == [*NAMES, "sweeping", "whole"]
    assert [f.name for f in fields(Limits)] == LIMITS


def test_commands_have_them_in_the_order_of_the_declaration() -> None:
    assert _options("prune") == NAMES
    assert _options("sweep") == [name for name in NAMES if name not in BUDGETS]
    assert _options("verify") == [*(name for name in NAMES if name in DATA), *LIMITS]
    assert _options("inspect") == ["states", "state", "input_shape"]
    training = [one.name for one, _ in declared(Training)]
    tune = [p.name for p in COMMANDS["tune"].params if p.name in {*NAMES, *training}]
    # nothing that would do nothing
    taken = (DATA | {*SAMPLES}) - {"evaluate", "run", *TIMING}
    assert sorted(tune) == sorted([*(name for name in NAMES if name in taken), *training])
    assert _options("apply") == ["input_shape", "run"]


def test_keyword_arguments_are_those_of_the_commands() -> None:
    of = {
        "prune": "PruneArguments",
        "prune_many": "PruneArguments",
        "sweep": "SweepArguments",
        "verify": "VerifyArguments",
    }
    for function, name in of.items():
        taken = getattr(arguments, name)
        assert inspect.signature(getattr(spa_cli, function)).parameters["options"].annotation == f"Unpack[{name}]"
        assert taken.__optional_keys__ == set(_options(function.removesuffix("_many")))
        assert not taken.__required_keys__


def test_what_may_be_given_is_no_less_than_what_is_kept() -> None:
    for of, name in ((Options, "PruneArguments"), (Limits, "LimitArguments")):
        given, kept = get_type_hints(getattr(arguments, name)), get_type_hints(of)
        for one, about in declared(of):
            assert about.read is not None or given[one.name] == kept[one.name], one.name


@pytest.mark.parametrize("command", ["prune", "sweep", "verify"])
def test_the_defaults_of_a_command_are_those_of_the_declaration(command) -> None:
    names = set(_options(command)) - ({*LIMITS} if command == "verify" else set())
    assert Options.of({p.name: p.default for p in COMMANDS[command].params if p.name in names}) == Options()
    if command == "verify":
        assert Limits(**{p.name: p.default for p in COMMANDS[command].params if p.name in LIMITS}) == Limits()


def test_what_the_command_line_takes() -> None:
    hints, abouts = get_type_hints(Options), {one.name: about for one, about in declared(Options)}
    expected = {
        "ratio": str,
        "max_drift": float,
        "target_size": str,
        "calib": Path,
        "tokenizer": Path,
        "mean": str,
        "provider": str,
    }
    expected |= {"round_to": str, "repair": bool, "exact_only": bool, "focus": list[str], "input_shape": list[str]}
    assert {name: parameters.kind(hints[name], abouts[name]) for name in expected} == expected


def test_text_is_read_as_on_the_command_line() -> None:
    assert [Options(target_macs=one).target_macs for one in (0.7, "0.7", "70%")] == [0.7, 0.7, 0.7]
    assert [Options(target_size=one).target_bytes(1000) for one in (700, "0.7kB", "70%")] == [700, 700, 700]
    with pytest.raises(UsageError, match=r"^--target-macs 'half' is no fraction; write one like 0\.7 or 70%"):
        Options(target_macs="half")
    given = {"round_to": "8", "mean": "0.1,0.2", "input_shape": "x:1,3", "only": "fc", "provider": ["cuda", "cpu"]}
    found = Options(ratio=0.5, **given)
    assert (found.round_to, found.mean, found.only) == (8, (0.1, 0.2), ("fc",))
    assert (found.input_shape, found.provider) == ({"x": (1, 3)}, ("cuda", "cpu"))
    with pytest.raises(UsageError, match="--round-to has to be at least 1, not -3"):
        Options(ratio=0.5, round_to="-3")


def test_a_sweep_and_a_comparison_have_no_budget_but_prune_does(tmp_path) -> None:
    assert Options().budgets == {}
    with pytest.raises(UsageError, match=r"give one of ratio, .*, min_accuracy$"):
        spa_cli.prune("none.onnx")
    with pytest.raises(UsageError, match=r"give one of ratio, .*, min_accuracy$"):
        spa_cli.prune_many(["none.onnx"], tmp_path / "out")
    with pytest.raises(UsageError, match="a sweep tries the budgets of points; leave out ratio"):
        spa_cli.sweep("none.onnx", tmp_path / "sweep", ratio=0.5)
    with pytest.raises(OptionError, match="there is no option 'ratio' here; name one that the function takes"):
        spa_cli.verify("none.onnx", "none.onnx", ratio=0.5)
    assert list(tmp_path.iterdir()) == []


def test_points_of_a_sweep_are_numbers_or_text(tmp_path) -> None:
    (points,) = [p.default for p in COMMANDS["sweep"].params if p.name == "points"]
    assert tuple(float(p) for p in points.split(",")) == POINTS
    for given in ("0.5;0.2", 0.5, ()):
        with pytest.raises(UsageError, match=rf"points '{re.escape(str(given))}' is not a list of numbers"):
            spa_cli.sweep("none.onnx", tmp_path, points=given)
    with pytest.raises(UsageError, match=r"picture 'a.jpg' has to end in one of"):
        spa_cli.sweep("none.onnx", tmp_path, picture="a.jpg")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"target_mac": 0.5}, r"there is no option 'target_mac' here; did you mean 'target_macs'\?"),
        ({"sweeping": True}, "there is no option 'sweeping' here; name one that the function takes, or leave it out"),
        ({"rounds": "x"}, "'rounds' has to be of type int, not 'x'"),
        ({"rounds": True}, "'rounds' has to be of type int, not True"),
        ({"only": [1]}, r"'only' has to be of type str \| Iterable\[str\] \| None, not \[1\]"),
        ({"ignore": 3}, r"'ignore' has to be of type str \| Iterable\[str\] \| None, not 3"),
        ({"ratio": [1]}, r"'ratio' has to be of type str \| float \| None, not \[1\]"),
        ({"run": 0}, "'run' has to be of type bool, not 0"),
        ({"input_shape": 3}, "'input_shape' has to be of type InputShapes, not 3"),
        ({"evaluate": 3}, r"'evaluate' has to be of type str \| Evaluation \| None, not 3"),
        ({"max_drift": "little"}, r"'max_drift' has to be of type float \| None, not 'little'"),
    ],
)
def test_what_is_no_option_or_of_another_type_is_refused(given, says) -> None:
    with pytest.raises(OptionError, match=says):
        spa_cli.prune("none.onnx", **given)


def test_numbers_of_numpy_are_numbers() -> None:
    found = Options(ratio=np.float32(0.5), seed=np.int64(3), exact_only=np.bool_(True))
    assert (found.ratio, type(found.seed), found.exact_only) == (0.5, int, True)
    assert Limits(max_drift=np.float64(0.1)).max_drift == 0.1
    with pytest.raises(OptionError, match=r"'max_drift' has to be of type float \| None"):
        spa_cli.verify("none.onnx", "none.onnx", max_drift="little")


SNIPPET = """
import numpy as np, spa_cli
spa_cli.prune("m.onnx", target_macs=0.5, only="fc", ignore=["a"], calib="c.npz", input_shape={"x": [1, 3]})
spa_cli.sweep("m.onnx", "out", points=(0.5,), method="l1")
spa_cli.verify("m.onnx", "s.onnx", mean=0.5, max_size="60%", provider=["cpu"])
spa_cli.prune("m.onnx", target_mac=0.5)
spa_cli.prune("m.onnx", rounds="x")
spa_cli.sweep("m.onnx", "out", ratio=0.5)
spa_cli.verify("m.onnx", "s.onnx", max_drift="little")
spa_cli.prune("m.onnx", calib=3)
spa_cli.prune("m.onnx", calib=np.zeros(3), test=[np.zeros(3)], evaluate=lambda file: 0.5, progress=lambda s, f: None)
spa_cli.prune("m.onnx", evaluate=3)
"""


def test_a_type_checker_sees_every_option(tmp_path) -> None:
    (tmp_path / "use.py").write_text(SNIPPET)
    # the cache of "make test"
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(tmp_path / "use.py")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=600,
    )
    told = [line.partition("use.py:")[2] for line in ran.stdout.splitlines() if "error: " in line]
    assert [line.partition(":")[0] for line in told] == ["6", "7", "8", "9", "10", "12"], ran.stdout
    assert 'Unexpected keyword argument "target_mac"' in told[0]
    assert 'Argument "rounds" to "prune" has incompatible type "str"' in told[1]


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("20kB", 20_000), ("20 kb", 20_000), ("20k", 20_000), ("20000", 20_000), (20_000, 20_000), ("20KiB", 20_480)],
)
def test_all_sizes_take_the_same_spellings(text, bytes_) -> None:
    assert Options(target_size=text).target_bytes(10**6) == bytes_
    assert Options(memory=text).memory == bytes_
    assert bytes_of(text, 10**6) == bytes_
    assert size(text, "--memory-limit") == bytes_


@pytest.mark.parametrize("text", ["20 kilobytes", "0", "-1", "", "0%", "1.2.3MB"])
def test_what_is_no_size(text) -> None:
    with pytest.raises(OptionError, match=r"is no file size; write bytes, a size like 500kB or 1\.5MB, or a part"):
        Options(target_size=text)
    with pytest.raises(OptionError, match="is no size; write one like 4GB or 500MB"):
        Options(memory=text)
