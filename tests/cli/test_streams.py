"""Standard output that can't be written to."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spa_cli.cli.streams import printing
from spa_cli.errors import UsageError
from tests.cli.test_terminal import ROOT
from tests.samples import model_path


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_said() -> None:
    with (
        pytest.raises(UsageError, match="what was found can't be printed: No space left on device; print it to"),
        open("/dev/full", "w") as full,
        contextlib.redirect_stdout(full),
        printing(),
    ):
        print("found")


def test_a_reader_that_has_gone_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe, contextlib.redirect_stdout(pipe):
        with printing():
            print("found")
        # what comes later goes nowhere, and is no error either
        print("more", flush=True)
        assert os.path.samestat(os.fstat(pipe.fileno()), os.stat(os.devnull))


@pytest.mark.parametrize("closed", ["1", "2"])
def test_streams_that_were_closed_before_it_began(closed) -> None:
    command = f"{sys.executable} -m spa_cli inspect {model_path('digits_mlp')} {closed}>&-"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert ran.returncode == 0
    assert ran.stderr == ""
    assert ("digits_mlp.onnx" in ran.stdout) == (closed == "2")
