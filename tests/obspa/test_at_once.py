"""Ranking readers one after the other: the errors are those of refitting, the order that of what each channel costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spa_cli.channels.groups import Group
from spa_cli.obspa import at_once as module
from spa_cli.obspa.at_once import at_once
from spa_cli.obspa.consumers import Reader
from spa_cli.obspa.moments import damped
from spa_cli.obspa.saliency import DAMPING, Consumer, Rigid, inverse
from spa_cli.obspa.shrinkage import shrunk


def group(channels: int, blocks: int = 0) -> Group:
    return Group("g", np.arange(channels), np.arange(blocks), (), None)


def reader(seed: int, channels: int, taps: int = 1, more: int = 0, outputs: int = 5, **options: object) -> Reader:
    """One that reads ``more`` coordinates beside the group's."""
    rng = np.random.default_rng(seed)
    p = channels * taps + more
    x = rng.standard_normal((400, p)) @ rng.standard_normal((p, p))
    places = rng.permutation(p)[: channels * taps].reshape(channels, taps)
    return Reader(
        "n",
        rng.standard_normal((outputs, p)),
        x.T @ x / 400,
        x.mean(0),
        400,
        places,
        weight=0.5 + seed,
        h_of=("n", seed),
        **options,
    )


def consumer(each: Reader) -> Consumer | Rigid:
    if each.unfit:
        return Rigid(each.w, each.second, each.places, each.weight)
    return Consumer(each.w, inverse(shrunk(each.h, each.rows)), each.places, each.weight)


def cost(each: Reader, channels: list[int]) -> float:
    """Of removing channels together, by definition."""
    gone = each.places[channels].ravel()
    if each.unfit:
        w = each.w[:, gone]
        return float(np.trace(w @ each.second[np.ix_(gone, gone)] @ w.T)) * each.weight
    v = np.linalg.inv(damped(shrunk(each.h, each.rows)[None], DAMPING)[0])
    w = each.w[:, gone]
    return float(np.trace(w @ np.linalg.inv(v[np.ix_(gone, gone)]) @ w.T)) * each.weight


@pytest.mark.parametrize(
    "readers",
    [
        [reader(1, 6)],
        [reader(1, 6), reader(2, 6, taps=4, more=3)],
        [reader(1, 6, more=5), reader(3, 6, taps=2, unfit=True)],
        [replace(reader(1, 6), felt=np.random.default_rng(5).standard_normal((3, 6)))],
    ],
    ids=["one", "taps, and other coordinates", "a rigid one", "felt in other directions"],
)
def test_the_first_to_go_is_the_least_salient_and_errors_are_those_of_refitting(readers) -> None:
    ranking, count = at_once(group(6), lambda: iter([[readers]]))
    assert count == len(readers)
    counted = [replace(each, w=each.w if each.felt is None else each.felt) for each in readers]
    alone = np.sum([consumer(each).scores() for each in counted], 0)
    assert list(ranking.order) == list(np.argsort(alone, kind="stable"))
    first = [cost_of_first(counted, ranking.order, k) for k in range(1, 7)]
    # the convex hull of what removing the first k costs
    reached = np.cumsum(ranking.loss)
    assert reached[-1] == pytest.approx(first[-1], rel=1e-6)
    assert (reached <= np.array(first) * (1 + 1e-6)).all()


def cost_of_first(readers: list[Reader], order: np.ndarray, k: int) -> float:
    return sum(cost(each, list(order[:k])) for each in readers)


def test_every_block_has_an_order_of_its_own() -> None:
    one, other = reader(1, 5), reader(2, 5)
    ranking, _ = at_once(group(5, blocks=2), lambda: iter([[[one], [other]]]))
    assert [list(o) for o in ranking.order] == [list(np.argsort(consumer(r).scores())) for r in (one, other)]


def test_a_block_that_nobody_reads_is_not_ranked() -> None:
    assert at_once(group(5, blocks=2), lambda: iter([[[reader(1, 5)], []]])) is None


def test_single_precision_orders_and_counts_the_same(monkeypatch) -> None:
    readers = [reader(1, 12, taps=2), reader(2, 12, more=6)]
    double, _ = at_once(group(12), lambda: iter([[readers]]))
    monkeypatch.setattr(module, "_SINGLE", 4)
    single, _ = at_once(group(12), lambda: iter([[readers]]))
    assert list(single.order) == list(double.order)
    np.testing.assert_allclose(single.loss, double.loss, rtol=1e-3)
