"""Folders that can't be written to, or are gone by the time there is something to write: one sentence, nothing lost."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from spa_cli import staging
from spa_cli.progress import LOG
from tests.cli.running import Ran, contents, spa
from tests.graph.files import dense, save_external
from tests.samples import model_path

MLP, LSTM = model_path("digits_mlp"), model_path("digits_lstm")
L1 = ("--ratio", 0.3, "--method", "l1")


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    """A temporary folder of one's own, which has to be empty afterwards."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(staging, "_swept", set())
    return folder


@pytest.fixture
def out(tmp_path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def given(tmp_path) -> Path:
    """Models and a plan to read."""
    folder = tmp_path / "given"
    folder.mkdir()
    save_external(dense(64), folder / "m.onnx")
    shutil.copy(MLP, folder / "mlp.onnx")
    assert spa("prune", folder / "m.onnx", "-o", folder / "s.onnx", "--plan-out", folder / "plan.json", *L1).code == 0
    return folder


def commands(given: Path, out: Path) -> dict[str, list[object]]:
    """Every command that writes into ``out``."""
    prune = ["prune", MLP, "-o", out / "s.onnx", *L1]
    return {
        "prune": prune,
        "prune --force": [*prune, "--force"],
        "prune --plan-out": ["prune", MLP, "-o", given / "t.onnx", "--plan-out", out / "p.json", *L1],
        "apply, external data": ["apply", given / "plan.json", given / "m.onnx", "-o", out / "s.onnx"],
        "batch": ["prune", MLP, given / "mlp.onnx", "-o", out, *L1, "--no-isolate"],
        "sweep": ["sweep", MLP, "-o", out, "--points", "0.8", "--method", "l1", "--keep-models"],
        "inspect --html": ["inspect", MLP, "--html", out / "r.html"],
    }


COMMANDS = list(commands(Path(), Path()))


def assert_refused(ran: Ran) -> None:
    """One sentence a file, with the code of what can't be written."""
    lines = [line for line in ran.err.splitlines() if not line.startswith("warning: ")]
    assert ran.code == 2, ran
    assert lines, ran
    assert all(line.startswith("error: ") for line in lines), ran.err
    assert len(lines) == 1 or len(lines) == ran.err.count(".onnx: ")
    assert "unexpected" not in ran.err
    assert "Traceback" not in ran.err


@pytest.fixture(params=["while it is analysed", "as the first thing is put in place"])
def removal(request, out, monkeypatch) -> Iterator[None]:
    """The folder ``out`` goes at that moment."""
    if "put" in request.param:
        synced = os.fsync

        def removed(file: int) -> None:
            shutil.rmtree(out, ignore_errors=True)
            synced(file)

        monkeypatch.setattr(os, "fsync", removed)
        yield
        return

    class Removing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "finding which channels" in record.getMessage():
                shutil.rmtree(out, ignore_errors=True)

    handler = Removing()
    LOG.addHandler(handler)
    yield
    LOG.removeHandler(handler)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_is_removed_meanwhile(name, given, out, temporary, removal) -> None:
    before = contents(given)
    assert_refused(spa(*commands(given, out)[name]))
    assert not out.exists()
    assert contents(given) == before
    assert list(temporary.iterdir()) == []


@pytest.fixture
def read_only(out) -> Iterator[None]:
    """Nobody may write into ``out``; root, whom rights don't stop, gets a disk there that takes nothing."""
    if os.geteuid():
        out.chmod(0o555)
        yield
        out.chmod(0o755)
    elif subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", out], capture_output=True).returncode:
        pytest.skip("root of a container, which can't mount")
    else:
        yield
        subprocess.run(["umount", out], check=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_is_read_only(name, given, out, temporary, read_only) -> None:
    before = contents(given)
    assert_refused(spa(*commands(given, out)[name]))
    assert list(out.iterdir()) == []
    assert list(temporary.iterdir()) == []
    assert contents(given) == before


def test_a_cache_that_is_read_only_costs_nothing_but_itself(given, out, temporary, read_only) -> None:
    """The result is there; that it was not kept is a warning."""
    ran = spa("prune", given / "mlp.onnx", "-o", given / "t.onnx", "--cache", out, *L1)
    assert ran.code == 0, ran.err
    assert f"warning: this could not be cached in '{out}': " in ran.err
    assert (given / "t.onnx").exists()
    assert list(temporary.iterdir()) == []
