"""What holds for every network: validity, removing equals zeroing, monotony, names."""

import itertools

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import spa_cli
from spa_cli.errors import ModelError, UnreachableError
from spa_cli.pipeline import Result
from tests import equivalence
from tests.builders import doubts
from tests.strategies import FEATURE, networks

QUICK = settings(
    max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
RATIOS = st.sampled_from([0.1, 0.3, 0.5])


def pruned(model, ratio, **options) -> Result | None:
    """The result of pruning, ``None`` where nothing can go."""
    try:
        result = spa_cli.prune(model, ratio=ratio, method="l1", **options)
    except (ModelError, UnreachableError):
        return None
    assert not doubts(result), "a group was left whole"
    return result


@QUICK
@given(networks((*FEATURE, "layer_norm")), RATIOS)
def test_a_pruned_network_is_valid_and_runs(model, ratio) -> None:
    result = pruned(model, ratio)
    if result is None:
        return
    onnx.checker.check_model(result.model, full_check=True)
    assert equivalence.signature(result.model) == equivalence.signature(model)
    rng = np.random.default_rng(0)
    for batch in (1, 3):
        x = rng.standard_normal((batch, 3, 4, 4)).astype(np.float32)
        (y,) = equivalence.run(result.model, {"x": x})
        assert y.shape == (batch, 5)
        assert np.isfinite(y).all()


@QUICK
@given(networks((*FEATURE, "layer_norm")), RATIOS)
def test_removing_equals_zeroing_with_exact_only(model, ratio) -> None:
    result = pruned(model, ratio, exact_only=True)
    if result is None:
        return
    kept = result.plan.kept
    assert kept
    equivalence.assert_follows_plan(model, result.model, kept)
    x = {"x": np.random.default_rng(1).standard_normal((2, 3, 4, 4)).astype(np.float32)}
    left, right = equivalence.run(equivalence.zeroed(model, kept), x), equivalence.run(result.model, x)
    equivalence.assert_same(model, left, right, 1e-3, "everything exact")


@QUICK
@given(networks())
def test_every_group_alone_equals_zeroing(model) -> None:
    equivalence.assert_removing_is_zeroing(model)


@settings(QUICK, max_examples=8)
@given(networks())
def test_a_deeper_cut_never_gives_a_larger_model(model) -> None:
    sizes = [(r.after.params, r.after.macs) for r in (pruned(model, ratio) for ratio in (0.1, 0.25, 0.5)) if r]
    for (params, macs), (fewer, less) in itertools.pairwise(sizes):
        assert fewer <= params
        assert less <= macs


@settings(QUICK, max_examples=8)
@given(networks(), RATIOS)
def test_names_are_kept(model, ratio) -> None:
    result = pruned(model, ratio)
    if result is None:
        return
    small = result.model.graph
    assert [i.name for i in small.input] == [i.name for i in model.graph.input]
    assert [o.name for o in small.output] == [o.name for o in model.graph.output]
    shuffled = {n.name for n in model.graph.node if n.op_type in ("Reshape", "Transpose")}
    assert {n.name for n in model.graph.node} - shuffled <= {n.name for n in small.node}
    floats = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
    assert floats <= {t.name for t in small.initializer}
