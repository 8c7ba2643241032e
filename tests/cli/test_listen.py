"""What is said while a command works, and what is left when it is stopped."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.running import contents, refused, spa
from tests.cli.test_terminal import ROOT, _terminal
from tests.samples import model_path

RESNET = model_path("digits_resnet")
PRUNE = ("prune", RESNET, "--ratio", 0.3, "--method", "l1")
STAGES = [
    "reading the model",
    "finding which channels depend on each other",
    "running the original",
    "scoring channels",
]


def test_verbose_says_every_step(tmp_path) -> None:
    err = spa(*PRUNE, "-o", tmp_path / "s.onnx", "--verbose").err
    said = [re.sub(r"^ *\d+\.\d s  ", "", line) for line in err.splitlines()]
    assert [line for line in said if not line.startswith("runs on ")][:4] == STAGES
    assert any(line.startswith("runs on 64 synthetic samples") and "pictures of 1x8x8" in line for line in said)
    assert [line for line in said if line in ("measuring latency", "comparing outputs")] == [
        "measuring latency",
        "comparing outputs",
    ]


def test_piped_nothing_is_said_unless_asked(tmp_path) -> None:
    assert spa(*PRUNE, "-o", tmp_path / "s.onnx").err == ""


def test_a_bar_on_a_terminal_and_none_when_quiet(tmp_path) -> None:
    shown = _terminal(*PRUNE, "-o", tmp_path / "s.onnx")
    assert "measuring latency" in shown
    assert re.search(r"measuring latency\W+\d+ s", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown))
    quiet = _terminal(*PRUNE, "-o", tmp_path / "t.onnx", "--quiet")
    assert "measuring latency" not in quiet
    assert "pruned digits_resnet.onnx" in quiet


def test_quiet_leaves_warnings_out(tmp_path) -> None:
    (tmp_path / "calib.py").write_text(
        "import numpy as np\ndef f():\n    return {'image': np.ones((8, 1, 8, 8), 'f')}\n"
    )
    asked = (*PRUNE, "--calib", f"{tmp_path / 'calib.py'}:f", "--cache", tmp_path / "c")
    assert "warning: this is not cached" in spa(*asked, "-o", tmp_path / "s.onnx").err
    assert spa(*asked, "-o", tmp_path / "t.onnx", "-q").err == ""


def test_a_log_file_has_steps_warnings_and_errors(tmp_path) -> None:
    log = tmp_path / "spa.log"
    assert spa(*PRUNE, "-o", tmp_path / "s.onnx", "--log-file", log).code == 0
    refused(2, *PRUNE, "-o", tmp_path / "s.onnx", "--log-file", log)
    lines = log.read_text().splitlines()
    steps = [line.split("INFO ")[1] for line in lines if "INFO" in line]
    assert [step for step in steps if not step.startswith("runs on ")][:4] == STAGES
    assert any("ERROR" in line and "exists; use --force" in line for line in lines)
    assert any("UsageError" in line for line in lines)


def test_a_log_file_that_can_not_be_written(tmp_path) -> None:
    text = refused(2, *PRUNE, "-o", tmp_path / "s.onnx", "--log-file", tmp_path / "none" / "spa.log")
    assert "the log file" in text
    assert "can't be written" in text


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_log_file_on_a_full_disk_is_one_warning(tmp_path) -> None:
    ran = spa(*PRUNE, "-o", tmp_path / "s.onnx", "--log-file", "/dev/full")
    assert ran.code == 0
    assert ran.err == "warning: the log file '/dev/full' can't be written: No space left on device\n"
    assert (tmp_path / "s.onnx").is_file()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind_and_says_so(tmp_path, stop) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.quick",
        "prune",
        RESNET,
        "-o",
        tmp_path / "s.onnx",
        "--target-macs",
        "0.5",
        "-v",
        "--calib-samples",
        "32",
        # half a minute of them follow: however late the signal comes, it is not done
        "--rounds",
        "30",
    ]
    # what runs in the background of a shell has Ctrl-C ignored, and its children with it
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    line = [*map(str, command)]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=heard) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "choosing what goes" in line:
                # the cut that follows is staged beside the output
                time.sleep(0.05)
                break
        os.kill(process.pid, stop)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "interrupted; nothing was written"
    assert contents(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_one_of_many_says_which(tmp_path) -> None:
    ran = spa("prune", RESNET, model_path("digits_mlp"), "-o", tmp_path, "--ratio", 0.3, "--method", "l1", "-v")
    assert "1 of 2, digits_resnet.onnx: scoring channels" in ran.err
    assert "2 of 2, digits_mlp.onnx: measuring latency" in ran.err


@pytest.mark.parametrize("columns", [45, 120])
def test_a_bar_is_one_line_however_narrow(columns) -> None:
    ran = _terminal(
        *("prune", model_path("digits_mlp"), "-o", os.devnull + ".onnx", "--target-macs", 0.5, "--dry-run"),
        *("--calib-samples", 64),
        columns=columns,
    )
    # a bar of more than one line goes up to draw itself again
    assert "\x1b[2A" not in ran
    drawn = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in re.split(r"[\r\n]+", ran)]
    bars = [line for line in drawn if re.search(r" \d+ s", line) and "latency" not in line]
    assert bars
    assert max(map(len, bars)) <= columns


def test_what_ruins_a_result_is_no_step_and_is_in_the_log_file(tmp_path) -> None:
    asked = ("prune", RESNET, "--target-macs", 0.1, "--method", "random", "-o", tmp_path / "s.onnx")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", _terminal(*asked, "--log-file", tmp_path / "log", "--force"))
    # the table begins with it
    assert shown.count("no longer resemble") == 1
    assert "WARNING the outputs no longer resemble the original's" in (tmp_path / "log").read_text()
    lines = spa(*asked, "-v", "--force").err.splitlines()
    assert not any("no longer resemble" in line for line in lines)
