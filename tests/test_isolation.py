"""What ends a process, or takes too long or too much, is one sentence about one file."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

import spa_cli
from spa_cli import isolation
from spa_cli.errors import ModelError, ResourceError, UnreachableError, UsageError
from spa_cli.isolation import Bounds, Isolated
from tests.cli.running import spa
from tests.quick import ROOT
from tests.samples import model_path

JOBS = "tests.jobs"
T = TypeVar("T")
MLP, LSTM = model_path("digits_mlp"), model_path("digits_lstm")
L1 = ("--ratio", 0.3, "--method", "l1")

# -- calling them -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def child() -> Iterator[Isolated]:
    with Isolated(Bounds(30, 1 << 30)) as found:
        yield found


def test_it_gives_what_it_is_asked_for_and_tells_what_goes_on(child, caplog) -> None:
    with caplog.at_level(logging.DEBUG, "spa_cli"):
        first = child.call("a", "1 of 2, a", f"{JOBS}:double", 4)
    assert first["number"] == 8
    assert first["process"] != os.getpid()
    said = [(r.levelname, r.getMessage(), getattr(r, "spa_part", None)) for r in caplog.records]
    assert said == [
        ("INFO", "1 of 2, a: doubling", None),
        ("DEBUG", "1 of 2", 0.0),
        ("DEBUG", "2 of 2", 0.5),
        ("WARNING", "numbers grow", None),
    ]
    # the same process for the next one
    assert child.call("b", "2 of 2, b", f"{JOBS}:double", 1)["process"] == first["process"]


def test_refusals_are_those_of_the_work(child) -> None:
    with pytest.raises(UnreachableError, match=r"^it is too far; go less far$"):
        child.call("a", "a", f"{JOBS}:refuse")
    with pytest.raises(ResourceError, match="there is no room"):
        child.call("a", "a", f"{JOBS}:lack")


def test_a_crash_is_a_refusal_and_the_next_one_is_done(child) -> None:
    with pytest.raises(
        ModelError, match=r"^'bad' ended the process that it was opened in .SIGSEGV.; export it again, or"
    ):
        child.call("bad", "bad", f"{JOBS}:crash")
    assert child.call("good", "good", f"{JOBS}:double", 3)["number"] == 6


def test_what_nobody_foresaw_ends_it_as_well(child) -> None:
    with pytest.raises(ModelError, match=r"ended the process that it was opened in .exit code 1."):
        child.call("bad", "bad", f"{JOBS}:raise_something")


@pytest.mark.skipif(sys.platform != "linux", reason="no other system bounds memory")
def test_memory_is_bounded(child) -> None:
    with pytest.raises(ModelError, match=r"ended the process that it was opened in .exit code 1."):
        child.call("large", "large", f"{JOBS}:fill")


def test_what_hangs_is_given_up() -> None:
    begun = time.perf_counter()
    with Isolated(Bounds(0.3)) as child:
        with pytest.raises(
            ModelError, match=r"^'slow' took more than 0.3 s and was given up; raise --time-limit if it is"
        ):
            child.call("slow", "slow", f"{JOBS}:hang", 60)
        assert child.call("quick", "quick", f"{JOBS}:hang", 0) is None
    assert time.perf_counter() - begun < 30


def test_what_only_this_program_knows_can_not_be_handed_over(child) -> None:
    with pytest.raises(
        UsageError, match=r"can't go to a process of its own .*; give --no-isolate \(isolate=False\), or a"
    ):
        child.call("a", "a", f"{JOBS}:double", lambda: 1)


def test_limits_have_to_be_some() -> None:
    assert (
        "--time-limit has to be a positive number of seconds, not 0"
        in spa(*("prune", MLP, LSTM, "-o", "out", *L1, "--time-limit", 0)).err
    )
    assert "--memory-limit 'much' is no size" in spa("inspect", MLP, "--isolate", "--memory-limit", "much").err


# -- many files -------------------------------------------------------------------------------------------------------

# a child in which the native code that opens one of the files crashes
CRASHING = """
import os, sys
sys.path[:0] = {path!r}
from tests.quick import shorten
shorten(setattr)
from spa_cli import batch
prune_file = batch.prune_file
batch.prune_file = lambda file, *rest: os.abort() if file.name == {name!r} else prune_file(file, *rest)
from spa_cli.isolation import serve
serve()
"""


def test_one_of_many_that_crashes_does_not_stop_the_rest(tmp_path, monkeypatch) -> None:
    program = CRASHING.format(path=sys.path, name=MLP.name)
    monkeypatch.setattr(isolation, "command", lambda: [sys.executable, "-c", program])
    ran = spa("prune", MLP, LSTM, "-o", tmp_path / "out", *L1)
    assert ran.code == 3
    assert f"error: {MLP}: '{MLP}' ended the process that it was opened in (SIGABRT); export it again" in ran.err
    assert "1 of 2 models pruned" in ran.out
    assert [p.name for p in (tmp_path / "out").iterdir()] == [LSTM.name]
    alone = tmp_path / "alone.onnx"
    assert spa("prune", LSTM, "-o", alone, *L1).code == 0
    assert alone.read_bytes() == (tmp_path / "out" / LSTM.name).read_bytes()


def test_python_isolates_many_too(tmp_path, monkeypatch) -> None:
    program = CRASHING.format(path=sys.path, name=LSTM.name)
    monkeypatch.setattr(isolation, "command", lambda: [sys.executable, "-c", program])
    (found,) = spa_cli.prune_many([LSTM], tmp_path / "out", ratio=0.3, method="l1", time_limit=60, memory_limit="8GB")
    assert found.exit_code == 3
    assert "SIGABRT" in str(found.error)


# -- a command --------------------------------------------------------------------------------------------------------


def _spa(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.quick", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_a_command_is_isolated_as_a_whole(tmp_path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    ran = _spa("inspect", bad, "--isolate", "--json")
    assert ran.returncode == 3
    assert ran.stderr.count("error: ") == 1
    # what it prints is what is printed
    assert "Traceback" not in ran.stderr
    assert json.loads(ran.stdout)["error"]["code"] == 3


def test_a_command_that_crashes_is_a_refusal(tmp_path) -> None:
    # Python itself runs this before anything else, in the child alone
    (tmp_path / "sitecustomize.py").write_text("import os\nif 'SPA_ISOLATED' in os.environ: os.abort()\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    ran = _spa("inspect", MLP, "--isolate", PYTHONPATH=path)
    assert ran.returncode == 3
    assert ran.stderr.splitlines()[-1] == (
        f"error: '{MLP}' ended the process that it was opened in (SIGABRT); export it again, or leave it out"
    )


def test_a_command_that_hangs_is_given_up(tmp_path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os, time\nif 'SPA_ISOLATED' in os.environ: time.sleep(60)\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    ran = _spa("inspect", MLP, "--isolate", "--time-limit", 0.5, PYTHONPATH=path)
    assert ran.returncode == 3
    assert "took more than 0.5 s and was given up" in ran.stderr


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="the system does not tell of processes")
def test_a_child_ends_with_the_process_that_it_works_for() -> None:
    text = f"from spa_cli.isolation import Bounds, Isolated; Isolated(Bounds()).call('m', 'm', '{JOBS}:hang', 100.0)"
    parent = subprocess.Popen([sys.executable, "-c", text], cwd=ROOT)
    try:
        child = _until(lambda: _children(parent.pid))
        # at work by now, or soon
        time.sleep(1)
    finally:
        parent.kill()
        parent.wait()
    assert child
    assert _until(lambda: not os.path.exists(f"/proc/{child[0]}"))


def _children(process: int) -> list[int]:
    """Those that it started, as far as the system tells."""
    with open(f"/proc/{process}/task/{process}/children") as file:
        return [int(word) for word in file.read().split()]


def _until(found: Callable[[], T], seconds: float = 20.0) -> T:
    """What is found as soon as it is, or then."""
    end = time.monotonic() + seconds
    while not (there := found()) and time.monotonic() < end:
        time.sleep(0.05)
    return there
