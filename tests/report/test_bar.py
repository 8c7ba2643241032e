"""Bars: on a terminal, in a notebook."""

from __future__ import annotations

import io
import re
import sys
import time
import types

import pytest
from rich.console import Console

import spa_cli
from spa_cli import progress
from spa_cli.report.bar import OnTerminal, Pace, brief, line
from tests.samples import model_path

MLP = model_path("digits_mlp")


def test_a_bar_that_knows_its_end_says_when() -> None:
    clock = [0.0]
    pace = Pace(lambda: clock[0])
    bar = line(pace, Console(width=80))
    bar.add_task("repairing", total=None)
    written = Console(file=io.StringIO(), width=80)
    for clock[0] in (0.0, 10.0):
        pace.reached(clock[0] / 40)
        written.print(bar)
    before, after = written.file.getvalue().splitlines()
    assert "left" not in before
    assert re.search(r"repairing.* \d+ s, about 30 s left", after)


def test_what_is_left_falls_and_is_not_said_when_it_is_over() -> None:
    clock = [0.0]
    pace = Pace(lambda: clock[0])
    assert pace.left is None
    # of a hundredth anything could follow
    clock[0] = 5.0
    pace.reached(0.01)
    assert pace.left is None
    clock[0] = 10.0
    pace.reached(0.25)
    left = [pace.left]
    for clock[0] in (20.0, 39.5, 60.0):
        left.append(pace.left)
    assert left == [30.0, 20.0, None, None]
    # the same stage from its start
    pace.reached(0.0)
    clock[0] = 61.0
    pace.reached(0.5)
    assert pace.left == 1.0


class _Shown:
    """IPython's displays: what each of them showed, one after the other."""

    def __init__(self) -> None:
        self.all: list[list[str]] = []

    def display(self, data: dict[str, str], raw: bool, display_id: bool) -> _Shown:
        assert raw
        assert display_id
        self.all.append([])
        self.update(data, raw)
        return self

    def update(self, data: dict[str, str], raw: bool) -> None:
        assert set(data) == {"text/html", "text/plain"}
        self.all[-1].append(data["text/html"])


@pytest.fixture
def notebook(monkeypatch) -> _Shown:
    found = _Shown()
    module = types.ModuleType("IPython.display")
    module.display = found.display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("spa_cli.report.bar._TICK", 0.01)
    return found


def test_a_notebook_has_a_bar_that_goes_and_notes_that_stay(notebook) -> None:
    bar = progress.bar(None)
    with progress.listened(bar):
        progress.note("runs on <b>pictures</b>")
        progress.stage("scoring")
        for _ in progress.tracked(range(4)):
            time.sleep(0.03)
    (states,) = notebook.all
    drawn = [html for html in states if "scoring" in html and "━" in html]
    assert len(drawn) > 3
    assert len(set(drawn)) > 3
    assert all("runs on &lt;b&gt;pictures&lt;/b&gt;" in html for html in drawn)
    assert "pictures" in states[-1]
    assert "scoring" not in states[-1]


def test_what_is_done_at_once_shows_nothing(notebook, monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.report.bar._TICK", 10.0)
    with progress.listened(progress.bar(None)):
        progress.stage("reading")
    assert notebook.all == []


def test_functions_have_a_bar_in_a_notebook_unless_told(notebook) -> None:
    given = {"ratio": 0.3, "method": "l2"}
    spa_cli.prune(MLP, **given, progress=False)
    told = []
    spa_cli.prune(MLP, **given, progress=lambda *heard: told.append(heard))
    assert notebook.all == []
    assert told[-1] == ("done", 1.0)
    spa_cli.prune(MLP, **given)
    ((*_, last),) = notebook.all
    assert "runs on 64 synthetic samples" in re.sub("<[^>]*>", "", last)
    with pytest.raises(spa_cli.OptionError, match=r"^progress has to be a function of .*, True or False, not 3$"):
        spa_cli.prune(MLP, **given, progress=3)


def test_of_many_there_is_one_bar(notebook, tmp_path) -> None:
    many = [MLP, model_path("digits_lstm")]
    assert len(list(spa_cli.prune_many(many, tmp_path, ratio=0.3, method="l2"))) == 2
    (states,) = notebook.all
    for name in ("1 of 2, digits_mlp.onnx: runs on", "2 of 2, digits_lstm.onnx: runs on"):
        assert name in re.sub("<[^>]*>", "", states[-1])


def test_elsewhere_there_is_none_unless_asked_for(monkeypatch) -> None:
    assert progress.bar(None) is None
    assert progress.bar(True) is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert isinstance(progress.bar(True), OnTerminal)
    assert progress.bar(False) is None


@pytest.mark.parametrize(
    ("stage", "room", "said"),
    [
        ("scoring channels", 8, "scoring channels"),
        ("4 of 5, digits_mobilenet.onnx: scoring channels", 60, "4 of 5, digits_mobilenet.onnx: scoring channels"),
        ("4 of 5, digits_mobilenet.onnx: scoring channels", 40, "4 of 5: scoring channels"),
        ("1 of 2, a, b: c.onnx: cutting", 20, "1 of 2: cutting"),
        ("drift against what is left: 2 of 6", 20, "drift against what is left: 2 of 6"),
    ],
)
def test_what_goes_on_is_said_rather_than_where(stage, room, said) -> None:
    assert brief(stage, room) == said
