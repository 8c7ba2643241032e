"""What Python is told is in Python's words, what the command line is told in its own."""

from __future__ import annotations

import logging
import re

import pytest
import typer

import spa_cli
from spa_cli.cli.app import commands
from spa_cli.errors import UsageError
from spa_cli.options.wording import WORDS, in_python, reworded
from spa_cli.progress import LOG
from spa_cli.result import Outcome
from tests.cli.running import spa
from tests.messages import HOLE, refusals, warnings
from tests.samples import model_path

MLP = model_path("digits_mlp")
# programs of others have flags, too; how results are shown is a matter of the command line
OTHERS = {"--tflite", "--saved-model", "--tfjs", "--graphdef", "--config", "--json", "--log-file", "--verbose"}
ONLY_COMMANDS = {"spa_cli/cli/"}


@pytest.mark.parametrize(
    ("said", "python"),
    [
        ("--target-macs 0.5 can't be reached; use --no-run", "target_macs 0.5 can't be reached; use run=False"),
        ("leave out --tidy, --eval or --as", "leave out tidy=True, evaluate or judge_as"),
        ("'spa criteria' lists them", "spa_cli.criteria() lists them"),
        ("name nodes as 'spa inspect --json' does", "name nodes as spa_cli.inspect() does"),
        ("use --force to replace it", "use force=True to replace it"),
        ("a tensor 'a--ratio' stays, and so does --tflite", "a tensor 'a--ratio' stays, and so does --tflite"),
        ("--max-drifting", "--max-drifting"),
        *[(name, name) for name in ("'a/--report' is no file", "'--report.html'", "'--seed/a'", "no tensor '--mean'")],
        ("leave out --seed.", "leave out seed."),
    ],
)
def test_flags_become_arguments(said, python) -> None:
    assert in_python(said) == python


def test_no_flag_is_left_in_anything_that_is_said() -> None:
    """Of every refusal and warning in the source."""
    sites = [s for s in (*refusals(), *warnings()) if not s.file.startswith(tuple(ONLY_COMMANDS))]
    left = {f for s in sites for t in s.texts for f in re.findall(r"--[a-z][a-z-]+", in_python(t).replace(HOLE, "x"))}
    assert left <= OTHERS, sorted(left - OTHERS)


def test_every_flag_of_a_command_has_a_word() -> None:
    shown = {"quiet", "verbose", "debug", "help", "log-file", "config", "json", "all", "github", "dry-run", "clear"}
    known = {*WORDS, *shown, "keep-models", "no-github"}
    for command in typer.main.get_command(commands()).commands.values():
        for parameter in command.params:
            flags = [f for f in (*parameter.opts, *parameter.secondary_opts) if f.startswith("--")]
            assert not flags or {f.lstrip("-") for f in flags} & known, (command.name, flags)


def test_errors_and_the_log_speak_to_whom_they_reach(caplog) -> None:
    with pytest.raises(spa_cli.OptionError, match=r"^ratio has to lie between 0 and 1 .*, not 2$"):
        spa_cli.prune(MLP, ratio=2)
    assert "error: --ratio has to lie between" in spa("prune", MLP, "-o", "x.onnx", "--ratio", "2").err
    with caplog.at_level(logging.WARNING, "spa_cli"):
        LOG.warning("give --calib")
        assert caplog.messages[-1] == "give --calib"
        caplog.clear()
        spa_cli.prune(MLP, ratio=0.3, method="l2", progress=lambda stage, part: LOG.warning("give --calib"))
    assert set(caplog.messages) == {"give calib"}


def test_what_results_say_is_reworded_and_nothing_else() -> None:
    failed = Outcome("--calib.onnx", None, UsageError("give --calib"))
    assert str(reworded(failed).error) == "give calib"
    assert reworded(failed).input == "--calib.onnx"
    done = Outcome("a", {"warnings": ["give --calib"], "input": "--calib"})
    assert reworded(done).report == {"warnings": ["give calib"], "input": "--calib"}
    assert reworded([3, ("--seed", None)]) == [3, ("seed", None)]


def test_each_of_many_is_reworded(tmp_path) -> None:
    given = {"ratio": 0.3, "method": "l2", "isolate": False, "input_shape": {"none": (1, 2)}}
    (found,) = spa_cli.prune_many([MLP], tmp_path / "out", **given)
    assert str(found.error).startswith("input_shape names 'none', which is not an input")
    assert repr(found).startswith(f"<Outcome {MLP}: input_shape names")
