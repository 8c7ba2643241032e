"""The clock that is chosen, and that this machine is measured once."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.analysis import Analysis
from spa_cli.devices import here, store
from spa_cli.devices.clock import MeasuredClock
from spa_cli.devices.profile_clock import ProfileClock
from spa_cli.devices.table import Run, Table
from tests.builders import analysed
from tests.devices.nets import dense

X = {"x": np.zeros((1, 3, 8, 8), np.float32)}


@pytest.fixture(autouse=True)
def measured(tmp_path, monkeypatch) -> list[str]:
    """Machines that were asked."""
    monkeypatch.setenv("SPA_DEVICES", str(tmp_path))
    asked: list[str] = []

    def made_up(analysis: Analysis, feeds: object, machine: str) -> Table:
        asked.append(machine)
        names = [n.label for n in analysis.graph.nodes]
        run = Run({n: [16] for n in names}, dict.fromkeys(names, 1.0), dict.fromkeys(names, 1.0 + len(asked)))
        return Table(machine, "a model", [run], {}, {n: n for n in names})

    monkeypatch.setattr(here, "measured", made_up)
    return asked


def _takes(clock: MeasuredClock) -> float:
    return float(clock.seconds(clock.nodes[0], np.ones(1), np.full((1, 1), 16))[0])


def test_this_machine_is_measured_once(measured) -> None:
    first, second = (here.clock_of(analysed(dense()), X) for _ in range(2))
    assert isinstance(first, MeasuredClock)
    assert measured == [store.machine()]
    assert _takes(first) == _takes(second) == 2
    assert store.clear() == 1
    assert _takes(here.clock_of(analysed(dense()), X)) == 3
    assert len(measured) == 2


def test_a_process_that_was_first_decides(measured, monkeypatch) -> None:
    """Both measure; both then choose the same widths."""
    real, lost = store.fetch, []

    def not_yet(key: str) -> Table | None:
        if not lost:
            lost.append(key)
            store.keep(key, here.measured(analysed(dense()), X, "another"))
            return None
        return real(key)

    monkeypatch.setattr(store, "fetch", not_yet)
    assert _takes(here.clock_of(analysed(dense()), X)) == 2
    assert measured == ["another", store.machine()]


def test_what_can_not_be_measured_has_no_clock(monkeypatch) -> None:
    def fails(*_: object) -> Table:
        raise RuntimeError("onnxruntime does not like it")

    monkeypatch.setattr(here, "measured", fails)
    assert here.clock_of(analysed(dense()), X) is None
    assert list(store.kept()) == []


def test_another_machine_is_not_measured(measured, tmp_path) -> None:
    (tmp_path / "mine.toml").write_text("convolution = 4\n")
    for device in ("cuda", str(tmp_path / "mine.toml")):
        assert isinstance(here.clock_of(analysed(dense()), X, device), ProfileClock)
    assert measured == []
