"""Budgets hold on the finished file: met within tolerance, or refused with the best that can be reached."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import spa_cli
from spa_cli.budget import kernels
from spa_cli.budget.choose import TOLERANCE
from spa_cli.budget.latency import LATENCY_TOLERANCE, LatencyTable, walk_to
from spa_cli.errors import UnreachableError, UsageError
from spa_cli.options import Options
from tests.builders import analysed, build, order_of, rankings
from tests.samples import SAMPLES, model_path

FRACTIONS = (0.85, 0.7, 0.55, 0.4, 0.25)


def prune(name, **options) -> spa_cli.result.Result:
    return spa_cli.prune(model_path(name), method="l1", **options)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("kind", ["macs", "params", "size"])
def test_targets_are_met_or_refused(name, kind) -> None:
    met = 0
    for fraction in FRACTIONS:
        size = model_path(name).stat().st_size
        try:
            result = prune(name, **{f"target_{kind}": int(fraction * size) if kind == "size" else fraction})
        except UnreachableError as error:
            assert "ask for that" in str(error)
            continue
        before, after = (getattr(f, {"size": "bytes"}.get(kind, kind)) for f in (result.before, result.after))
        assert fraction - TOLERANCE - 1e-6 <= after / before <= fraction + 1e-9
        if kind == "size":
            assert after <= int(fraction * size)
        met += 1
    assert met


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_larger_ratio_never_gives_a_larger_model(name, data) -> None:
    one, two = sorted(data.draw(st.tuples(st.floats(0.01, 0.8), st.floats(0.01, 0.8))))
    method = data.draw(st.sampled_from(["l1", "lamp", "random", "fpgm"]))
    analysis = analysed(model_path(name))
    order = order_of(analysis, rankings(analysis, method))
    small, large = (analysis.costs.after(order.selection(order.by_ratio(r))) for r in (two, one))
    assert small[0] <= large[0]
    assert small[1] <= large[1]


def test_a_ratio_that_only_coarse_steps_would_miss_is_refused_with_the_closest() -> None:
    net = build("(float[1,4] x) => (y) { h = MatMul(x, w1) r = Relu(h) y = MatMul(r, w2) }", w1=(4, 32), w2=(32, 3))
    with pytest.raises(UnreachableError, match=r"--ratio 0.4 can't be met within 2 %: 0.375 is the closest"):
        spa_cli.prune(net, ratio=0.4, round_to=4)


def test_rounding_gives_way_to_the_budget_only_where_it_was_picked_for_the_user(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "preferred_multiple", lambda graph: 16)
    net = build("(float[1,4] x) => (y) { h = MatMul(x, w1) r = Relu(h) y = MatMul(r, w2) }", w1=(4, 32), w2=(32, 3))
    with pytest.raises(UnreachableError, match=r"0\.500 of the original is the closest below"):
        spa_cli.prune(net, method="l1", target_macs=0.7, round_to=16)
    result = spa_cli.prune(net, method="l1", target_macs=0.7, round_to="auto")
    assert result.plan.about["round_to"] == 2
    assert result.after.macs / result.before.macs == 22 / 32


def test_floors_hold_after_rounding() -> None:
    result = prune("digits_resnet", target_params=0.5, round_to=8, min_channels=12, max_group_ratio=0.6)
    for group, kept in result.cut_groups:
        assert kept % 8 == 0
        assert kept >= 12
        assert kept >= 0.4 * group.channels


@pytest.mark.parametrize("value", ["8x", "automatic"])
def test_rounding_to_something_else(value) -> None:
    with pytest.raises(UsageError, match="has to be a number or auto"):
        Options(ratio=0.3, round_to=value)


def _walk(measure, wanted) -> float:
    """What the walk reaches for a latency that ``measure`` makes up."""
    analysis = analysed(model_path("digits_resnet"))
    ranked = rankings(analysis, "l1")
    grouping = analysis.grouping
    macs = [analysis.costs.per_channel(i, g)[1] for i, g in enumerate(grouping.groups)]

    def measured(selection, seconds) -> float:
        return measure(analysis.costs.after(selection)[1] / analysis.costs.macs)

    table = LatencyTable(grouping, ranked, macs, list(range(len(grouping.groups))), measured)
    order = order_of(analysis, ranked)
    return measured(walk_to(order, table, measured, wanted), 1.0)


@pytest.mark.parametrize("wanted", [0.9, 0.7, 0.5, 0.35])
def test_a_latency_that_is_not_the_macs_is_found(wanted) -> None:
    for measure in (lambda left: left, lambda left: 0.2 + 0.8 * left**2, lambda left: np.sqrt(left)):
        assert abs(_walk(measure, wanted) - wanted) <= LATENCY_TOLERANCE * wanted


def test_a_latency_behind_a_jump_is_refused_with_the_closest() -> None:
    with pytest.raises(UnreachableError, match=r"can't be met within 5 %: 0\.[0-9]+ of the original, measured here"):
        _walk(lambda left: 0.95 if left > 0.3 else 0.1, 0.5)


def test_a_cut_that_does_not_run_is_no_candidate() -> None:
    with pytest.raises(UnreachableError):
        _walk(lambda left: float("inf"), 0.5)


def test_latency_is_confirmed_on_the_finished_file_in_one_run() -> None:
    try:
        result = prune("digits_mlp", target_latency=0.9)
    except UnreachableError as error:
        # a busy machine, or kernels whose overhead is all there is
        assert "of the original" in str(error)
        return
    assert result.before.seconds is not None
    assert abs(result.after.seconds / result.before.seconds - 0.9) <= LATENCY_TOLERANCE * 0.9
