"""The clock of this machine, from a table that nobody measured."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.devices.clock import MeasuredClock, costs_of
from spa_cli.devices.costs import costs_by_kind
from spa_cli.devices.table import CLASSES, Run, Table, class_of
from tests.builders import analysed
from tests.devices.nets import dense

NAMES = ("Conv_a", "Relu_r", "Conv_y")


def _run(width: int, seconds: tuple[float, float, float]) -> Run:
    """Of the convolutions' 24 channels so many."""
    work = (64 * width * 27, 64 * width, 64 * 4 * width)
    return Run(
        {name: [width] for name in NAMES},
        {name: float(w) for name, w in zip(NAMES, work, strict=True)},
        dict(zip(NAMES, seconds, strict=True)),
    )


def _table(*runs: Run) -> Table:
    kinds = {"Conv_a": "convolution", "Conv_y": "convolution"}
    return Table(
        "a machine", "a model", list(runs), kinds, {"Conv_a": "Conv_a", "Relu_r": "Conv_a", "Conv_y": "Conv_y"}
    )


def _clock(*runs: Run) -> MeasuredClock:
    return MeasuredClock(_table(*runs), analysed(dense()).graph.nodes)


def _seconds(clock: MeasuredClock, name: str, *widths: int) -> np.ndarray:
    node = next(n for n in clock.nodes if n.label == name)
    work = {"Conv_a": 64 * 27, "Relu_r": 64, "Conv_y": 64 * 4}[name]
    return clock.seconds(node, work * np.array(widths, float), np.array([widths]))


def test_a_line_through_the_best_class() -> None:
    """Half a microsecond stays, an eighth is taken by each channel."""
    clock = _clock(_run(16, (2.5, 0, 2.5)), _run(32, (4.5, 0, 4.5)), _run(8, (9, 0, 1.5)))
    assert _seconds(clock, "Conv_y", 16, 32, 48, 64) == pytest.approx([2.5, 4.5, 6.5, 8.5])


def test_other_classes_are_dearer_and_never_cheaper() -> None:
    clock = _clock(
        _run(16, (2.5, 0, 2.5)),
        _run(32, (4.5, 0, 4.5)),
        _run(8, (3, 0, 1.0)),
        _run(4, (2, 0, 2.0)),
        _run(1, (5, 0, 0.3)),
    )
    straight = 0.5 + np.array([24, 20, 18, 17]) / 8
    # twice the line at 8, so twice at 4, 2 (which nobody measured) and 1; 5 / 0.625 = 8 times at 1
    assert _seconds(clock, "Conv_a", 24, 20, 18, 17) == pytest.approx(straight * [2, 2, 2, 8])
    assert _seconds(clock, "Conv_y", 24, 20, 18, 17) == pytest.approx(straight * [1, 2, 2, 2])


def test_nothing_is_dearer_than_eight_times() -> None:
    clock = _clock(_run(16, (1, 0, 1)), _run(32, (2, 0, 2)), _run(1, (1000, 0, 1)))
    assert _seconds(clock, "Conv_a", 17) == pytest.approx(8 * 17 / 16)


def test_a_single_width_of_the_best_class_leaves_others_what_they_were_seen_to_take() -> None:
    """A layer too narrow for two of them: what half of it takes is known only at another class's width."""
    clock = _clock(_run(16, (2, 0, 2)), _run(8, (1.5, 0, 1)))
    assert _seconds(clock, "Conv_a", 8, 16) == pytest.approx([1.5, 2])
    assert _seconds(clock, "Conv_y", 8, 16) == pytest.approx([1, 2])


def test_those_that_follow_share_what_widths_cost() -> None:
    """What is fused in one class is not in another: the layer's own time says nothing alone."""
    clock = _clock(_run(16, (4, 0, 1)), _run(8, (2, 4, 1)))
    assert _seconds(clock, "Conv_a", 16) == pytest.approx(4)
    assert _seconds(clock, "Conv_a", 8) == pytest.approx(2 * 3)
    assert _seconds(clock, "Relu_r", 8) == pytest.approx(0)


def test_a_flat_or_falling_time_costs_nothing_more() -> None:
    clock = _clock(_run(16, (5, 0, 5)), _run(32, (5, 0, 3)))
    assert _seconds(clock, "Conv_a", 16, 32, 64) == pytest.approx([5, 5, 5])
    assert _seconds(clock, "Conv_y", 16, 32, 64) == pytest.approx([4, 4, 4])


def test_without_the_best_class_the_next_is_the_best() -> None:
    table = _table(_run(24, (3, 0, 3)), _run(8, (1, 0, 1)), _run(12, (3, 0, 3)))
    assert costs_of(table, "Conv_y", ["Conv_y"]) == pytest.approx([2, 2, 2, 1, 1])


def test_what_is_told_of_a_kind_is_weighed_by_time() -> None:
    best = _run(16, (3, 0, 1)), _run(32, (6, 0, 2))
    # twice, at 1.5 and 0.5 seconds by the line; then twice and as long
    found = costs_by_kind(_table(*best, _run(8, (3, 0, 1))))
    assert found == {"convolution": {8: pytest.approx(2), 16: pytest.approx(1)}}
    found = costs_by_kind(_table(*best, _run(8, (3, 0, 0.5))))
    assert found["convolution"][8] == pytest.approx((2 * 3 + 1 * 1) / 4)


def test_classes() -> None:
    assert [class_of(w) for w in ([48, 16], [24], [20, 16], [18], [17, 16], [])] == [16, 8, 4, 2, 1, CLASSES[-1]]
