"""The algebra of channel ids: unify, split, merge, freeze."""

import numpy as np
import pytest

from spa_cli.channels.factors import common_factors, digits
from spa_cli.channels.ids import Ids, Reason


@pytest.fixture
def ids() -> Ids:
    return Ids()


@pytest.fixture
def mismatch(ids) -> int:
    return ids.reason("does not fit", "node")


def rows(ids, axis) -> list[list[int]]:
    return ids.normal(axis).tolist()


def is_frozen(ids, axis) -> list[bool]:
    return (ids.frozen(ids.normal(axis)) != 0).any(1).tolist()


def test_fresh_ids_are_distinct_and_never_zero(ids) -> None:
    a, b = ids.fresh(3), ids.fresh(2)
    found = np.concatenate([a, b]).ravel()
    assert found.min() > 0
    assert len(set(found.tolist())) == 5


def test_the_table_grows(ids) -> None:
    a = ids.fresh(5000)
    b = ids.fresh(3)
    assert len(np.unique(ids.normal(np.concatenate([a, b])))) == 5003


def test_unified_axes_have_the_same_rows(ids, mismatch) -> None:
    a, b = ids.fresh(4), ids.fresh(4)
    ids.unify(a, b, mismatch)
    assert rows(ids, a) == rows(ids, b)
    assert len(np.unique(ids.normal(a))) == 4


def test_unify_is_transitive_in_any_order(ids, mismatch) -> None:
    axes = [ids.fresh(3) for _ in range(5)]
    for i, j in ((3, 4), (0, 1), (4, 1), (2, 0)):
        ids.unify(axes[i], axes[j], mismatch)
    assert all(rows(ids, a) == rows(ids, axes[0]) for a in axes)


def test_unify_with_a_permutation_of_itself_joins_cycles(ids, mismatch) -> None:
    a = ids.fresh(5)
    ids.unify(a, a[[1, 0, 2, 4, 3]], mismatch)
    first, second, third, fourth, fifth = ids.normal(a).ravel()
    assert first == second
    assert fourth == fifth
    assert len({first, third, fourth}) == 3


def test_freezing_reaches_whatever_is_unified_before_or_after(ids, mismatch) -> None:
    a, b, c = ids.fresh(3), ids.fresh(3), ids.fresh(3)
    ids.unify(a, b, mismatch)
    ids.freeze(a[1:2], ids.reason("stays"))
    ids.unify(b, c, mismatch)
    assert is_frozen(ids, c) == [False, True, False]
    reason = ids.reasons[int(ids.frozen(ids.normal(c))[1, 0])]
    assert reason == Reason("stays")


def test_the_first_reason_stays(ids) -> None:
    a = ids.fresh(1)
    ids.freeze(a, ids.reason("first"))
    ids.freeze(a, ids.reason("second"))
    assert ids.reasons[int(ids.frozen(ids.normal(a))[0, 0])].text == "first"


def test_inexactness_spreads_like_freezing_and_is_not_freezing(ids, mismatch) -> None:
    a, b = ids.fresh(2), ids.fresh(2)
    ids.mark_inexact(a, ids.reason("measures it"))
    ids.unify(b, a, mismatch)
    assert (ids.inexact(ids.normal(b)) != 0).all()
    assert is_frozen(ids, b) == [False, False]


def test_the_same_reason_has_one_index(ids) -> None:
    assert ids.reason("a", "n") == ids.reason("a", "n") != ids.reason("a", "m")


def test_split_refines_single_ids_into_pairs(ids, mismatch) -> None:
    a = ids.fresh(6)
    outer, inner = ids.split(a, (2, 3), mismatch)
    assert outer.shape == (2, 1)
    assert inner.shape == (3, 1)
    expected = [sorted([int(outer[i // 3, 0]), int(inner[i % 3, 0])]) for i in range(6)]
    assert [sorted(r) for r in rows(ids, a)] == expected


def test_merge_of_a_split_is_the_axis(ids, mismatch) -> None:
    a = ids.fresh(12)
    parts = ids.split(a, (2, 3, 2), mismatch)
    whole = Ids.merge(parts)
    assert [sorted(r) for r in rows(ids, whole)] == [sorted(r) for r in rows(ids, a)]
    assert not any(is_frozen(ids, a))


def test_split_of_a_merge_gives_the_parts_back(ids, mismatch) -> None:
    a, b = ids.fresh(3), ids.fresh(4)
    back = ids.split(Ids.merge([a, b]), (3, 4), mismatch)
    assert [rows(ids, x) for x in back] == [rows(ids, a), rows(ids, b)]


def test_splitting_twice_alike_relates_nothing_new(ids, mismatch) -> None:
    a = ids.fresh(8)
    first = ids.split(a, (2, 4), mismatch)
    second = ids.split(a, (2, 4), mismatch)
    assert [rows(ids, x) for x in first] == [rows(ids, x) for x in second]


def test_splitting_finer_refines_the_coarse_part(ids, mismatch) -> None:
    a = ids.fresh(8)
    outer, inner = ids.split(a, (2, 4), mismatch)
    o, m, i = ids.split(a, (2, 2, 2), mismatch)
    assert rows(ids, o) == rows(ids, outer)
    assert [sorted(r) for r in rows(ids, inner)] == [sorted(r) for r in rows(ids, Ids.merge([m, i]))]
    assert not any(is_frozen(ids, a))


def test_splits_that_do_not_nest_freeze(ids, mismatch) -> None:
    a = ids.fresh(12)
    ids.split(a, (3, 4), mismatch)
    b = ids.fresh(12)
    ids.split(b, (4, 3), mismatch)
    ids.unify(a, b, mismatch)
    assert all(is_frozen(ids, a)) or rows(ids, a) == rows(ids, b)


def test_unifying_a_split_axis_with_a_plain_one_splits_the_plain_one(ids, mismatch) -> None:
    a, b = ids.fresh(6), ids.fresh(6)
    ids.split(a, (2, 3), mismatch)
    ids.unify(b, a, mismatch)
    assert [sorted(r) for r in rows(ids, a)] == [sorted(r) for r in rows(ids, b)]
    assert not any(is_frozen(ids, b))


def test_a_frozen_id_freezes_both_of_its_parts(ids, mismatch) -> None:
    a = ids.fresh(6)
    ids.freeze(a[:1], ids.reason("stays"))
    outer, inner = ids.split(a, (2, 3), mismatch)
    assert is_frozen(ids, outer) == [True, False]
    assert is_frozen(ids, inner) == [True, False, False]


def test_an_axis_of_channels_and_constants_keeps_the_channels(ids, mismatch) -> None:
    a, b = ids.fresh(3), ids.fresh(3)
    with_none = a.copy()
    with_none[1] = 0
    ids.unify(with_none, b, mismatch)
    assert is_frozen(ids, b) == [False, True, False]
    assert is_frozen(ids, a) == [False, False, False]


def test_products_are_unified_factor_by_factor(ids, mismatch) -> None:
    a, b, c, d = ids.fresh(2), ids.fresh(3), ids.fresh(2), ids.fresh(3)
    ids.unify(Ids.merge([a, b]), Ids.merge([c, d]), mismatch)
    assert rows(ids, a) == rows(ids, c)
    assert rows(ids, b) == rows(ids, d)


def test_transposed_products_freeze_or_agree(ids, mismatch) -> None:
    a, b = ids.fresh(2), ids.fresh(3)
    left, right = Ids.merge([a, b]), Ids.merge([b, a])
    ids.unify(left, right, mismatch)
    agree = [sorted(r) for r in rows(ids, left)] == [sorted(r) for r in rows(ids, right)]
    assert agree or all(is_frozen(ids, left))


@pytest.mark.parametrize(
    ("column", "expected"),
    [([1, 1, 2, 2], (2, 4)), ([1, 2, 1, 2], (1, 2)), ([3, 3, 3, 3], (4, 4)), ([1, 1, 2, 2, 1, 1, 2, 2], (2, 4))],
)
def test_digits(column, expected) -> None:
    assert digits(np.array(column)) == expected


def test_common_factors_of_nesting_structures() -> None:
    a = Ids.merge([np.array([[1], [2]]), np.array([[3], [4], [5]])])
    assert common_factors(a, a) == (2, 3)
    b = Ids.merge([np.array([[1], [2], [3]]), np.array([[4], [5]])])
    assert common_factors(a, b) is None
