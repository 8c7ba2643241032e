"""Measuring the layers of a model: which cuts are run, and what is told of them. Times are this machine's."""

from __future__ import annotations

import pytest

from spa_cli.devices import measure
from spa_cli.devices.table import Table, class_of
from spa_cli.runtime.made_up import synthetic
from tests.builders import analysed
from tests.devices.nets import separable


@pytest.fixture(scope="module")
def table() -> Table:
    analysis = analysed(separable(64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "_SECONDS", 0.02)
        return measure.measured(analysis, synthetic(analysis.graph, analysis.input_shapes), "a machine")


def test_cuts_are_of_every_class(table) -> None:
    widths = [run.widths["Conv_d"] for run in table.runs]
    # whole, 0.75 and 0.45 of it in 16s, then 0.75 in multiples of 8, 4, 2 and 1 and of nothing more
    assert widths == [[64], [48], [32], [40], [44], [46], [47]] or widths[:3] == [[64], [48], [32]]
    assert [class_of(w) for w in widths] == [16, 16, 16, 8, 4, 2, 1]
    assert all(36 <= w[0] <= 56 for w in widths[3:])


def test_work_and_time_are_told_of_every_node(table) -> None:
    for run in table.runs:
        (width,) = run.widths["Conv_d"]
        assert run.work["Conv_d"] == 64 * 9 * width
        assert run.work["Relu_r"] == 64 * width
        assert run.seconds["Conv_d"] > 0
        assert set(run.seconds) <= set(run.work) == set(run.widths)
        assert 0 < sum(run.seconds.values()) < 1


def test_kinds_and_leaders_are_told(table) -> None:
    assert table.kinds == {"Conv_a": "convolution", "Conv_d": "depthwise", "Conv_y": "convolution"}
    assert table.leaders == {
        "Conv_a": "Conv_a",
        "Relu_r": "Conv_a",
        "Conv_d": "Conv_d",
        "Relu_s": "Conv_d",
        "Conv_y": "Conv_y",
    }
    assert (table.machine, table.model) == ("a machine", analysed(separable(64)).source.name)


def test_it_comes_back_from_json(table) -> None:
    assert type(table).of(table.json()) == table
