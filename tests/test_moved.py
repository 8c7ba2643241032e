"""What was imported from where modules were before still is."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from spa_cli.moved import MOVED

PACKAGE = Path(__file__).parents[1] / "spa_cli"
FAMILIES = [f.stem for f in (PACKAGE / "operators").glob("*.py") if f.stem != "__init__"]


@pytest.mark.parametrize(
    ("before", "now"), [*MOVED.items(), *((f"channels.rules.{name}", f"operators.{name}") for name in FAMILIES)]
)
def test_former_names(before, now, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, f"spa_cli.{before}", raising=False)
    module = importlib.import_module(f"spa_cli.{now}")
    with pytest.warns(DeprecationWarning, match=f"spa_cli.{before} is spa_cli.{now} now"):
        assert importlib.import_module(f"spa_cli.{before}") is module
    assert module.__spec__ is not None and module.__spec__.name == f"spa_cli.{now}"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("batch", "Outcome"),
        ("graph.load", "Source"),
        ("quality", "Measured"),
        ("surgery.values", "CutError"),
        ("verification.check", "Drift"),
        ("verification.check", "Timing"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_documented_names(module, name) -> None:
    assert getattr(importlib.import_module(f"spa_cli.{module}"), name).__name__ == name


def test_what_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("spa_cli.channels.rules.nothing")
