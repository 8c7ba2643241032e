"""Layers of the same role that keep the same count."""

from __future__ import annotations

import itertools
import re

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.budget.bill import BYTES, CHANNELS, MACS, PARAMS, Bill
from spa_cli.budget.constraints import Constraints
from spa_cli.budget.menu import Menu
from spa_cli.budget.solve import Solver
from spa_cli.budget.ties import Ties, ties_of
from spa_cli.errors import ModelError
from tests.builders import analysed, build, random, rankings

DEPTH, WIDE = 2, 8


def blocks(depth: int = DEPTH, heads: int = 2) -> onnx.ModelProto:
    """Blocks of attention and a feed-forward layer on one stream; the weights of each block have a size of their own.

    What follows the blocks has a width of its own, and so has another layer of the same width that is no block's.
    """
    text, weights, x = [], dict[str, object](), "x"
    for b in range(depth):
        for name in ("q", "k", "v"):
            text.append(f"{name}a{b} = MatMul({x}, w{name}{b})  {name}b{b} = Reshape({name}a{b}, split)")
            text.append(f"{name}{b} = Transpose<perm=[0,2,1,3]>({name}b{b})")
            weights[f"w{name}{b}"] = (b + 1) * random((8, heads * 3), f"{name}{b}")
        text.append(f"kt{b} = Transpose<perm=[0,1,3,2]>(k{b})  s{b} = MatMul(q{b}, kt{b})  p{b} = Softmax(s{b})")
        text.append(f"o{b} = MatMul(p{b}, v{b})  t{b} = Transpose<perm=[0,2,1,3]>(o{b})  j{b} = Reshape(t{b}, joined)")
        text.append(f"e{b} = MatMul(j{b}, wo{b})  h{b} = Add(e{b}, {x})")
        text.append(
            f"f{b} = MatMul(h{b}, wf{b})  g{b} = Relu(f{b})  d{b} = MatMul(g{b}, wd{b})  x{b} = Add(h{b}, d{b})"
        )
        weights |= {f"wo{b}": (heads * 3, 8), f"wd{b}": (WIDE, 8), f"wf{b}": (b + 1) * random((8, WIDE), f"f{b}")}
        x = f"x{b}"
    weights |= {
        "split": [0, 0, heads, 3],
        "joined": [0, 0, heads * 3],
        "bias": (WIDE,),
        "wz": (8, WIDE),
        "wy": (WIDE, 5),
    }
    # a bias makes no other role
    body = "\n".join(text).replace("g0 = Relu(f0)", "fb = Add(f0, bias)  g0 = Relu(fb)")
    return build(f"(float[N,5,8] x) => (y) {{ {body} z = MatMul({x}, wz) r = Relu(z) y = MatMul(r, wy) }}", **weights)


def counts(result) -> dict[str, set[int]]:
    """Widths that are left, by the role of what makes them."""
    arrays = {t.name: t.dims for t in result.model.graph.initializer}
    return {role: {arrays[f"w{role}{b}"][1] for b in range(DEPTH)} for role in "qkvf"}


BUDGETS = [
    {"ratio": 0.3},
    {"target_macs": 0.7},
    {"target_params": 0.7},
    {"target_size": "75%"},
    {"target_macs": 0.8, "target_params": 0.75},
    {"target_macs": 0.9, "round_to": 4},
    {"target_macs": 0.7, "round_to": "auto"},
    {"max_drift": 0.9},
    {"target_macs": 0.7, "rounds": 2},
    {"target_macs": 0.7, "blocks": True},
    {"target_macs": 0.9, "min_channels": 5},
    {"target_macs": 0.7, "max_group_ratio": 0.5},
]


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_every_layer_of_a_role_keeps_as_many_whatever_the_budget(budget) -> None:
    result = spa_cli.prune(blocks(), method="l1", uniform=True, **{"round_to": 1, **budget})
    found = counts(result)
    assert all(len(widths) == 1 for widths in found.values())
    assert found["f"] != {WIDE} or found["v"] != {6}
    if "target_macs" in budget:
        assert result.after.macs <= budget["target_macs"] * result.before.macs
    if budget.get("round_to") == 4:
        assert all(width % 4 == 0 for width in found["f"])


def test_without_being_asked_layers_keep_what_they_are_worth() -> None:
    result = spa_cli.prune(blocks(), method="l1", target_macs=0.7, round_to=1)
    assert len(counts(result)["f"]) > 1
    assert "uniform" not in result.plan.about


def test_roles_are_told_by_shapes_and_axes_of_matrices() -> None:
    analysis = analysed(blocks())
    ties = ties_of(analysis.grouping, analysis.graph)
    made = [{m.tensor for m in g.members} for g in analysis.grouping.groups]
    tied = {frozenset(ties.of(i)) for i in range(len(made)) if len(ties.of(i)) > 1}
    together = sorted(sorted(min(made[i] - {"bias"}) for i in several) for several in tied)
    # feed-forward widths; heads, dims of queries and keys, dims of values
    assert together == [["wd0", "wd1"], ["wk0", "wk1"], ["wk0", "wk1"], ["wo0", "wo1"]]
    assert {ties.of(i) for i, tensors in enumerate(made) if "bias" in tensors} == {
        ties.of(i) for i, tensors in enumerate(made) if "wf1" in tensors
    }
    assert len(ties) == 4
    (alone,) = (i for i, tensors in enumerate(made) if "wz" in tensors)
    assert ties.of(alone) == (alone,)


def test_the_choice_is_the_best_of_all_that_are_uniform() -> None:
    analysis = analysed(blocks())
    ties, ranked = ties_of(analysis.grouping, analysis.graph), rankings(analysis, "l1")
    menu = Menu(analysis.grouping, ranked, Constraints(), {*analysis.graph.weights()}, ties=ties)
    bill = Bill(analysis.costs, analysis.grouping, ties=ties)
    free = Bill(analysis.costs, analysis.grouping)
    every = list(itertools.product(*(d.counts.tolist() for d in menu.dishes.values())))
    for coin, most in ((MACS, 0.7), (PARAMS, 0.6), (BYTES, 0.65), (CHANNELS, 0.6)):
        found = Solver(menu, bill).solve({coin: most})
        assert found is not None
        assert found.gone == ties.all(found.gone)
        assert free.left(coin, menu.vector(found.gone)) <= most + 1e-9
        gones = [ties.all(dict(zip(menu.dishes, chosen, strict=True))) for chosen in every]
        best = min(menu.lost(g) for g in gones if free.left(coin, menu.vector(g)) <= most + 1e-9)
        assert found.loss <= 1.02 * best


def test_costs_change_with_all_that_are_tied() -> None:
    analysis = analysed(blocks())
    ties = ties_of(analysis.grouping, analysis.graph)
    tied, free = Bill(analysis.costs, analysis.grouping, ties=ties), Bill(analysis.costs, analysis.grouping)
    start = [0] * len(analysis.grouping.groups)
    for first in {ties.first(i) for i in range(len(start))}:
        group = analysis.grouping.groups[first]
        some = np.arange(group.channels)
        for coin in (MACS, PARAMS, CHANNELS):
            wanted = []
            for count in some:
                gone = list(start)
                for index in ties.of(first):
                    gone[index] = int(count)
                wanted.append(free.left(coin, gone) - 1)
            np.testing.assert_allclose(tied.change(coin, first, some, start), wanted, atol=1e-12)


def test_what_one_of_them_has_to_keep_all_keep() -> None:
    alone = r"uniform=True cuts '.*' only with '.*', which has the same role and stays whole"
    for asked in ({"ratio": 0.3}, {"max_drift": 0.5}):
        with pytest.raises(
            ModelError, match=f"^nothing in 'model' can be pruned: {alone}; give uniform=False, or let both go$"
        ):
            spa_cli.prune(blocks(), method="l1", uniform=True, only="wf1", **asked)
    result = spa_cli.prune(blocks(), method="l1", ratio=0.3, uniform=True, ignore="wf1")
    assert counts(result)["f"] == {WIDE}
    (said,) = [w for w in result.warnings if "uniform=True" in w]
    assert re.match(alone, said)
    with pytest.raises(ModelError, match="nothing in 'model' can be pruned under these constraints"):
        spa_cli.prune(blocks(), method="l1", ratio=0.3, ignore="*")


def test_a_plan_says_so_and_where_there_is_nothing_to_tie_it_is_said() -> None:
    result = spa_cli.prune(blocks(), method="l1", ratio=0.3, uniform=True)
    assert result.plan.about["uniform"] is True
    assert not [w for w in result.warnings if "uniform=True" in w]
    lone = build("(float[N,4] x) => (y) { a = MatMul(x, w)  r = Relu(a)  y = MatMul(r, v) }", w=(4, 8), v=(8, 2))
    (said,) = [w for w in spa_cli.prune(lone, method="l1", ratio=0.3, uniform=True).warnings if "uniform=True" in w]
    assert said == "uniform=True changes nothing: no two groups of 'model' have the same role"


def test_no_ties_change_nothing() -> None:
    ties = Ties()
    assert (ties.of(3), ties.first(3), len(ties)) == ((3,), 3, 0)
    assert ties.all({1: 2}) == {1: 2}
    assert list(ties.spread([4, 5])) == [4, 5]
