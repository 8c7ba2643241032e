"""Costs by numbers of channels are those of the cut itself."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.budget.bill import BYTES, CHANNELS, MACS, PARAMS, Bill
from spa_cli.budget.constraints import Constraints
from spa_cli.budget.menu import Menu
from spa_cli.budget.widths import Widths
from tests.builders import analysed, rankings
from tests.samples import SAMPLES, model_path


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_left_is_what_the_cut_leaves(name) -> None:
    analysis = analysed(model_path(name))
    menu = Menu(analysis.grouping, rankings(analysis, "l1"), Constraints(), {*analysis.graph.weights()})
    bill, widths = Bill(analysis.costs, analysis.grouping), Widths(analysis.grouping)
    rng = np.random.default_rng(0)
    for _ in range(5):
        gone = {i: int(rng.choice(dish.counts)) for i, dish in menu.dishes.items()}
        while (crowded := menu.crowded(gone)) is not None:
            gone[crowded[0]] = crowded[1]
        selection, vector = menu.selection(gone), menu.vector(gone)
        params, macs = analysis.costs.after(selection)
        assert np.isclose(bill.left(MACS, vector), macs / analysis.costs.macs)
        assert np.isclose(bill.left(PARAMS, vector), params / analysis.costs.params)
        assert np.isclose(bill.left(BYTES, vector), analysis.costs.bytes_after(selection) / analysis.weight_bytes)
        assert np.isclose(bill.left(CHANNELS, vector), 1 - selection.removed / analysis.channels)
        for rows in analysis.grouping.rows.values():
            assert widths.of(rows, vector) == selection.mask(rows).sum()


@pytest.mark.parametrize("coin", [CHANNELS, MACS, PARAMS, BYTES])
def test_the_change_along_a_group_is_the_difference_of_what_is_left(coin) -> None:
    analysis = analysed(model_path("digits_resnet"))
    menu = Menu(analysis.grouping, rankings(analysis, "l1"), Constraints(), {*analysis.graph.weights()})
    bill = Bill(analysis.costs, analysis.grouping)
    start = menu.vector({i: int(d.counts[len(d.counts) // 3]) for i, d in menu.dishes.items()})
    for index, dish in menu.dishes.items():
        changes = bill.change(coin, index, dish.counts, start)
        for count, change in zip(dish.counts, changes, strict=True):
            moved = [int(count) if i == index else c for i, c in enumerate(start)]
            assert np.isclose(bill.left(coin, start) + change, bill.left(coin, moved))
