"""The clock of the machine is set while a command runs: what is timed goes by another, which nobody sets."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path

import pytest

import spa_cli
from spa_cli.errors import ModelError
from spa_cli.isolation import Bounds, Isolated
from tests.cli.running import spa
from tests.samples import model_path
from tests.tuning.nets import images, net

MLP = model_path("digits_mlp")
L1 = ("--ratio", 0.3, "--method", "l1")
DAY = 86400.0
# a day back, a day on, before files had dates
JUMPS = (-DAY, DAY, -1e12)
ASKING = re.compile(r"\b(time\.(time|time_ns|ctime|localtime|gmtime|strftime)\b|datetime|from time import)")


@pytest.fixture
def jumping(monkeypatch) -> None:
    """Every time it is asked, it has been set once more."""
    real, jumps = time.time, itertools.cycle(JUMPS)
    monkeypatch.setattr(time, "time", lambda: max(0.0, real() + next(jumps)))


def test_nothing_in_the_package_asks_for_the_time_of_day() -> None:
    files = sorted(Path(spa_cli.__file__).parent.rglob("*.py"))
    assert [file.name for file in files if ASKING.search(file.read_text(encoding="utf-8"))] == []
    assert ASKING.search("begun = time.time()")


def test_what_is_written_kept_and_logged_is_the_same(jumping, tmp_path, monkeypatch) -> None:
    log = ("--log-file", tmp_path / "log", "--verbose")
    first = spa("prune", MLP, "-o", tmp_path / "a.onnx", "--cache", tmp_path / "cache", *L1, *log)
    again = spa("prune", MLP, "-o", tmp_path / "b.onnx", "--cache", tmp_path / "cache", *L1, *log)
    assert (first.code, again.code) == (0, 0)
    monkeypatch.undo()
    assert spa("prune", MLP, "-o", tmp_path / "c.onnx", *L1).code == 0
    files = [tmp_path / f"{name}.onnx" for name in "abc"]
    assert len({file.read_bytes() for file in files}) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_limits_of_time_are_those_that_were_given(jumping) -> None:
    begun = time.perf_counter()
    with Isolated(Bounds(0.5)) as child:
        assert child.call("quick", "quick", "tests.jobs:hang", 0) is None
        with pytest.raises(ModelError, match=r"took more than 0\.5 s and was given up"):
            child.call("slow", "slow", "tests.jobs:hang", 60)
    assert time.perf_counter() - begun < 30


def test_training_takes_the_minutes_that_it_was_given(jumping) -> None:
    begun = time.perf_counter()
    calib = {"x": images()}
    found = spa_cli.tune(net(6), net(), calib=lambda: calib, minutes=0.5 / 60)
    assert found.tuned.training.steps > 1
    assert 0.4 < found.tuned.training.seconds < 5
    assert time.perf_counter() - begun < 30
