"""Runs in turns, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from spa_cli.runtime import turns
from spa_cli.runtime.turns import in_turns


class Clock:
    """Time passes where somebody runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(turns.time, "perf_counter", lambda: self.now)

    def takes(self, first: float, settled: float | None = None, after: float = 0.05) -> Callable[[], None]:
        """A call that takes ``first`` seconds until it has been called for ``after`` seconds in a row."""
        state = {"last": -1.0, "since": 0.0}

        def call() -> None:
            if state["last"] != self.now:
                state["since"] = self.now
            self.now += first if settled is None or self.now - state["since"] < after else settled
            state["last"] = self.now

        return call


def test_what_is_not_settled_does_not_count(monkeypatch) -> None:
    clock = Clock(monkeypatch)
    found = in_turns([clock.takes(0.012, 0.006), clock.takes(0.010, 0.005)], 2.0, 200)
    for runs, settled in zip(found, (0.006, 0.005), strict=True):
        assert {round(run.seconds, 6) for run in runs if run.counts} == {settled}
        # those that would spoil it were made
        assert max(run.seconds for run in runs if not run.counts) == pytest.approx(2 * settled)
        assert sum(run.counts for run in runs) >= 50


def test_they_take_turns(monkeypatch) -> None:
    clock, order = Clock(monkeypatch), []

    def named(name: str):
        call = clock.takes(0.01)
        return lambda: (order.append(name), call())

    in_turns([named("a"), named("b")], 1.0, 200)
    changes = sum(one != other for one, other in pairwise(order))
    assert changes >= 6
    # a stretch: 80 ms that don't count, 80 ms that do
    assert "a" * 16 in "".join(order)


def test_what_takes_microseconds_needs_a_few_runs_to_settle_and_ends_early(monkeypatch) -> None:
    clock = Clock(monkeypatch)
    (runs,) = in_turns([clock.takes(20e-6)], 2.0, 200)
    # one before the first stretch
    assert [run.counts for run in runs[:12]] == [*[False] * 11, True]
    assert sum(run.counts for run in runs) == 200
    assert clock.now < 0.01


def test_of_long_runs_all_but_the_first_count(monkeypatch) -> None:
    clock = Clock(monkeypatch)
    (runs,) = in_turns([clock.takes(1.0)], 0.1, 200)
    assert [run.counts for run in runs] == [False, True]
    # patience ends where one run takes ten times what was asked for; five count otherwise
    (runs,) = in_turns([clock.takes(1.0)], 1.0, 200)
    assert sum(run.counts for run in runs) == 5


def test_nobody_takes_no_turns() -> None:
    assert in_turns([], 0.1, 5) == []
