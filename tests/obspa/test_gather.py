"""What a chunk gives to sums, made elsewhere: the same numbers as if all had been here."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.obspa.gather import _summed, add
from spa_cli.obspa.moments import Moments, Product, Shift, enough
from spa_cli.obspa.shrinkage import POSITIONS

RNG = np.random.default_rng(0)


def _rows(sizes: list[int], moved: float) -> list[np.ndarray]:
    return [(RNG.standard_normal((2, n, 6)) + moved * np.arange(6)).astype(np.float32) for n in sizes]


def _of(parts: list[np.ndarray]) -> Moments:
    """As whoever adds up does: what the first chunk says of shifts goes to all others."""
    found, shift = Moments(), None
    for number, rows in enumerate(parts):
        add(found, _summed(rows, shift, first=not number), len(rows[0]))
        shift = shift if number else found.shift
    return found


@pytest.mark.parametrize(
    "sizes",
    [[1500, 1100, 40, 2000, 30], [40, 1500, 1100], [1500], [30, 40]],
    ids=["many first", "few first", "1", "few"],
)
@pytest.mark.parametrize("moved", [0.0, 30.0], ids=["about zero", "far from it"])
def test_products_from_elsewhere_are_as_good_as_rows(sizes, moved) -> None:
    parts, here = _rows(sizes, moved), Moments()
    for rows in parts:
        here.add(rows, len(rows[0]))
    there = _of(parts)
    for name, value in here.packed().items():
        np.testing.assert_array_equal(there.packed()[name], value, name)
    assert (there.shift.value is None) == (moved == 0)
    every = np.concatenate(parts, 1).astype(np.float64)
    for h, x in zip(there.h, every, strict=True):
        np.testing.assert_allclose(h, np.cov(x.T, bias=True), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sizes", [[1500, 1100, 40, 2000, 30], [40, 1500, 1100], [30, 40], []])
def test_parts_that_are_multiplied_at_the_same_time_add_up_to_the_same(sizes) -> None:
    parts, one_by_one, at_once = _rows(sizes, 30.0), Moments(), Moments()
    for rows in parts:
        one_by_one.add(rows)
    at_once.add_all(iter(parts))
    assert (at_once.n, at_once.rows) == (one_by_one.n, one_by_one.rows) == (sum(sizes), sum(sizes))
    for name, value in one_by_one.packed().items() if sizes else ():
        np.testing.assert_array_equal(at_once.packed()[name], value, name)


def test_rows_travel_where_they_are_fewer_than_their_product_or_nothing_is_known_of_others() -> None:
    many, few = _rows([1200, 50], 0.0)
    assert enough(many) and not enough(few)
    assert isinstance(_summed(many, None, first=True), Product)
    assert isinstance(_summed(many, Shift(None), first=False), Product)
    assert _summed(many, None, first=False) is many
    assert _summed(few, Shift(None), first=False) is few
    assert not enough(np.zeros((1, 1030, 4000)))


def test_what_came_from_elsewhere_may_not_be_written_to() -> None:
    rows, found = _rows([1200, 1300], 0.0), Moments()
    for each in rows:
        product = Product.of(each, None)
        product.xx.flags.writeable = False
        found.add_product(product, 3)
    assert (found.n, found.rows) == (2500, 2 * 3 * POSITIONS)
    assert np.isfinite(found.h).all()
