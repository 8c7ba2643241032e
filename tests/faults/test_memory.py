"""``ulimit -v`` too small for what was asked: one sentence, exit code 5, and nothing half written, however it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spa_cli import isolation
from spa_cli.cli import failures, watch
from spa_cli.errors import ModelError, ResourceError, of_memory
from spa_cli.runtime.said import said
from tests.quick import ROOT
from tests.samples import model_path

resource = pytest.importorskip("resource")
MLP = model_path("digits_mlp")
L1 = ("--ratio", 0.3, "--method", "l1")


def _under(megabytes: int, folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    limit = megabytes << 20
    there = {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "SPA_DEVICES": str(folder), **environment}
    return subprocess.run(
        [sys.executable, "-m", "spa_cli", *map(str, arguments)],
        env={**os.environ, **there},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't bound the address space")
def test_a_command_without_the_room_says_so(tmp_path) -> None:
    """Where a library ends the process by itself, while it is imported."""
    (tmp_path / "out").mkdir()
    ran = _under(140, tmp_path, "prune", MLP, "-o", tmp_path / "out" / "s.onnx", *L1, "--json")
    assert ran.returncode == 5, ran
    assert ran.stderr.startswith("error: there is not enough memory")
    assert ran.stderr.count("\n") == 1
    assert json.loads(ran.stdout)["error"]["kind"] == "memory"
    assert list((tmp_path / "out").iterdir()) == []


def _ended_by(code: str, monkeypatch, capfd) -> tuple[int, str]:
    """The exit code of a watched command whose child does this, and what is on standard error."""
    monkeypatch.setattr(watch, "limited", lambda: 400_000_000)
    monkeypatch.setattr(watch, "command", lambda arguments: [sys.executable, "-c", code])
    with pytest.raises(SystemExit) as left:
        watch.watched(lambda: None)
    return left.value.code, capfd.readouterr().err


@pytest.mark.parametrize(
    ("code", "why"),
    [("import os; os.abort()", "SIGABRT"), ("raise SystemExit(1)", "exit code 1"), ("raise SystemExit(127)", "127")],
    ids=["native code throws", "a library leaves", "the loader leaves"],
)
def test_whatever_ends_the_child_is_a_lack_of_memory(code, why, monkeypatch, capfd) -> None:
    found, said = _ended_by(code, monkeypatch, capfd)
    assert found == 5
    assert said.startswith("error: there is not enough memory (")
    assert f"{why}, where 'ulimit' allows 0.40 GB); allow more, or run it where there is more" in said


@pytest.mark.parametrize("code", [1, 130])
def test_what_comes_to_its_end_says_what_it_says(code, monkeypatch, capfd) -> None:
    """The child itself, as it is run there: native code prints nothing, Python does."""
    child = f"""
import os, sys
sys.path[:0] = [{str(ROOT)!r}]
from spa_cli.cli.watch import watched
def run():
    os.write(2, b"native")
    print("ours", file=sys.stderr)
    raise SystemExit({code})
watched(run)
"""
    assert _ended_by(child, monkeypatch, capfd) == (code, "ours\n")


@pytest.mark.parametrize(
    "error",
    [
        "MemoryError()",
        "OSError(12, 'Cannot allocate memory')",
        "ImportError('libx.so: failed to map segment')",
        "SystemError('error return without exception set')",
    ],
)
def test_what_has_no_room_to_say_so_leaves_it_to_its_parent(error, monkeypatch, capfd) -> None:
    """The child itself, where memory ends outside of a command: no traceback, and no other cause is blamed."""
    child = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}]
from spa_cli.cli import app
def run():
    raise {error}
app.commands = lambda: run
app.main()
"""
    found, said = _ended_by(child, monkeypatch, capfd)
    assert found == 5
    assert said.startswith("error: there is not enough memory (exit code 1, where 'ulimit' allows 0.40 GB)")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "crowded", ["failures.say = nothing_left", "typer.Exit = type('Exit', (Exception,), {'__init__': nothing_left})"]
)
def test_what_was_said_is_not_said_again(crowded, monkeypatch, capfd) -> None:
    """The object was printed, and then there was no room, for the sentence or to leave."""
    child = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}]
import typer
from spa_cli.cli import failures, watch
def nothing_left(*_):
    raise MemoryError
def run():
    with failures.guarded(False, json=True):
        {crowded}
        raise MemoryError
watch.watched(run)
"""
    monkeypatch.setattr(watch, "limited", lambda: 400_000_000)
    monkeypatch.setattr(watch, "command", lambda arguments: [sys.executable, "-c", child])
    monkeypatch.setattr(sys, "argv", ["spa", "--json"])
    with pytest.raises(SystemExit) as left:
        watch.watched(lambda: None)
    out, err = capfd.readouterr()
    assert left.value.code == 5
    assert json.loads(out)["error"]["kind"] == "memory"
    assert err.startswith("error: there is not enough memory") and err.count("\n") == 1


def test_an_extension_without_a_word_is_a_lack_of_memory_where_that_is_limited(monkeypatch) -> None:
    silent = SystemError("error return without exception set")
    assert failures._of(silent, "nothing was written", False)[1] == "unexpected"
    monkeypatch.setattr(failures, "limited", lambda: 140_000_000)
    code, kind, said = failures._of(silent, "nothing was written", False)
    assert (code, kind) == (5, "memory")
    assert said.startswith("there is not enough memory (error return without exception set)")


def test_without_a_limit_nothing_is_watched(monkeypatch) -> None:
    monkeypatch.setattr(watch, "limited", lambda: None)
    done: list[int] = []
    watch.watched(lambda: done.append(os.getpid()))
    assert done == [os.getpid()]


def test_one_of_many_that_ends_its_process_lacks_memory_where_that_is_limited(monkeypatch) -> None:
    assert isinstance(isolation._ended("a", -11), ModelError)
    monkeypatch.setattr(isolation, "limited", lambda: 2_000_000_000)
    found = isolation._ended("a", -11)
    assert isinstance(found, ResourceError)
    assert (
        str(found) == "there is not enough memory for 'a' (SIGSEGV, where 'ulimit' allows 2.00 GB); allow more, or "
        "leave it out"
    )


@pytest.mark.parametrize(
    ("error", "quotes"),
    [
        (
            ImportError("IMPORTANT: READ THIS\n\nlibx.so: failed to map segment from shared object"),
            "libx.so: failed to",
        ),
        (ValueError("Failed to serialize proto"), "Failed to serialize proto"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (
            RuntimeError(
                "/onnxruntime_src/core/env.cc:327 PosixThread::PosixThread(int) pthread_create failed, error 11"
            ),
            "pthread_create failed, error 11",
        ),
    ],
)
def test_what_libraries_say_of_it(error, quotes) -> None:
    assert f"there is not enough memory ({quotes}" in str(of_memory(error, said))
    assert of_memory(RuntimeError("something else")) is None
