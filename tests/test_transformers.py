"""Every transformer family: heads, head dims and feed-forward widths go alone, and what is left stays right."""

import numpy as np
import pytest

import spa_cli
from tests.builders import doubts
from tests.equivalence import assert_same, feeds, run, zeroed
from tests.transformers import DIM, FAMILIES, HIDDEN, family

MODELS = {build.__name__: family(build) for build in FAMILIES}
PARTS = {"heads": "attn.*/blocks*", "dims": "attn.*/inside*", "feed-forward": "ffn.up*"}


def _pruned(model, pattern, ratio):
    return spa_cli.prune(model, ratio=ratio, method="l1", only=[pattern])


def _inputs(model):
    shapes = {i.name: [d.dim_value or 1 for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    return list(feeds(model, shapes, np.random.default_rng(0)))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", MODELS)
def test_each_part_goes_alone_and_exactly(name, part) -> None:
    model = MODELS[name]
    result = _pruned(model, PARTS[part], 0.5)
    cut = [group for group, _ in result.cut_groups]
    assert cut and all(group.exact for group in cut)
    assert not doubts(result)
    touched = set(result.plan.kept)
    assert all(t.startswith("attn." if part != "feed-forward" else "ffn.") or _is_table(t) for t in touched), touched
    masked = zeroed(model, result.plan.kept)
    for given in _inputs(model):
        assert_same(model, run(masked, given), run(result.model, given), 1e-4, part)


def _is_table(name):
    """Rotary tables and the like are constants without a name of their own."""
    return name.startswith("const_")


@pytest.mark.parametrize("name", MODELS)
def test_the_parts_are_what_they_are_called(name) -> None:
    """Whole heads lose all their dims; dims leave every head narrower; a feed-forward loses single channels."""
    groups = spa_cli.inspect(MODELS[name]).grouping.groups
    rows = {g.tensor: {m.rows for m in g.members if m.role == "producer"} for g in groups}
    heads = [r for n, r in rows.items() if "/blocks" in n and n.startswith("attn.")]
    dims = [r for n, r in rows.items() if "/inside" in n and n.startswith("attn.")]
    assert heads and all(min(r) % DIM == 0 for r in heads)
    assert dims
    assert {g.channels for g in groups if g.tensor.startswith("ffn.up")} == {HIDDEN}


@pytest.mark.parametrize("name", MODELS)
def test_a_head_that_says_nothing_goes_first_and_nothing_changes(name) -> None:
    model = MODELS[name]
    one = _pruned(model, PARTS["heads"], 0.01)
    silent = zeroed(model, one.plan.kept)
    result = _pruned(silent, PARTS["heads"], 0.01)
    assert result.plan.kept == one.plan.kept
    assert result.drift.relative_l2 < 1e-6
    for given in _inputs(model):
        assert_same(model, run(silent, given), run(result.model, given), 1e-5, "a silent head")
