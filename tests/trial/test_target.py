"""Budgets hold on the finished file: met within tolerance, or refused with the best that can be reached."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import spa_cli
from spa_cli.budget.solve import TOLERANCE, Solver
from spa_cli.devices.measure import work_of
from spa_cli.devices.profiles import profile_of
from spa_cli.errors import OptionError, UnreachableError, UsageError
from spa_cli.options import Options
from spa_cli.runtime.load import load
from spa_cli.runtime.timing import Timing
from spa_cli.trial.target import BEARABLE, HURRY, LATENCY_TOLERANCE
from tests.builders import analysed, build, rankings, solver_of
from tests.devices.nets import taken
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
        if any("the nearest below it" in text for text in result.warnings):
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
    solver = solver_of(analysis, rankings(analysis, method))
    small, large = (
        analysis.costs.after(solver.menu.selection(solver.solve({"channels": 1 - ratio}, near=True).gone))
        for ratio in (two, one)
    )
    assert small[0] <= large[0]
    assert small[1] <= large[1]


NET = {"w1": (4, 32), "w2": (32, 3)}
TEXT = "(float[1,4] x) => (y) { h = MatMul(x, w1) r = Relu(h) y = MatMul(r, w2) }"


def test_what_only_coarse_steps_would_miss_is_met_from_below_and_said() -> None:
    result = spa_cli.prune(build(TEXT, **NET), ratio=0.4, round_to=4)
    assert result.before.channels - result.after.channels == 16
    said = "ratio 0.4 is met with 0.500 of the 32 removable channels removed, the nearest below it"
    assert said in result.warnings
    with pytest.raises(UnreachableError, match=r"can't be met within 2 %: 0\.500 of the 32 removable channels"):
        spa_cli.prune(build(TEXT, **NET), ratio=0.4, round_to=4, exact_budget=True)


def test_a_size_that_the_file_has_is_no_limit_beside_another_budget() -> None:
    size = model_path("digits_mlp").stat().st_size
    both, one = (prune("digits_mlp", target_macs=0.6, **more) for more in ({"target_size": 2 * size}, {}))
    assert both.plan.kept == one.plan.kept
    with pytest.raises(OptionError, match=r"target_size .* is no less than the \d+ bytes"):
        prune("digits_mlp", target_size=2 * size)


def test_several_budgets_hold_together() -> None:
    size = model_path("digits_resnet").stat().st_size
    result = prune("digits_resnet", target_macs="70%", target_params=0.6, target_size=f"{0.65 * size / 1000:.1f}kB")
    assert result.after.macs / result.before.macs <= 0.7
    assert result.after.params / result.before.params <= 0.6
    assert result.after.bytes <= 0.65 * size
    spare = [0.7 - result.after.macs / result.before.macs, 0.6 - result.after.params / result.before.params]
    assert min([*spare, 0.65 - result.after.bytes / size]) < TOLERANCE


def test_budgets_that_exclude_each_other_name_the_one_that_is_out_of_reach() -> None:
    with pytest.raises(UnreachableError, match=r"target_params 0\.1 can't be reached: 0\.[0-9]+ of the original"):
        prune("digits_resnet", target_macs=0.7, target_params=0.1, max_group_ratio=0.5)


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


def test_latency_is_confirmed_on_the_finished_file_in_one_run() -> None:
    try:
        result = prune("digits_mlp", target_latency=0.9)
    except UnreachableError as error:
        # a busy machine, or kernels whose overhead is all there is
        assert "of the original" in str(error)
        return
    timing = result.timings[0].timing
    assert result.after.seconds == timing.after
    assert min(abs(left - 0.9) for left in (timing.left, timing.quiet_left)) <= LATENCY_TOLERANCE * 0.9


def test_a_model_that_gives_no_profile_has_no_latency_to_aim_at(monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.trial.choose.clock_of", lambda analysis, *_: None)
    with pytest.raises(UnreachableError, match=r"gives no profile of '.*'; use target_macs"):
        prune("digits_mlp", target_latency=0.7)


class _Steps:
    """A clock of a made-up machine: seconds are the work, of odd widths five times as many."""

    def __init__(self, nodes) -> None:
        self.nodes = nodes

    def work(self, node, shape) -> float:
        return work_of(node, shape)

    def seconds(self, node, work, widths):
        return work * np.where((widths % 8 == 0).all(0), 1.0, 5.0)


def test_widths_that_cost_time_are_not_taken_though_the_budget_is_of_something_else(monkeypatch) -> None:
    """Free widths lose little less; what they cost in time decides."""
    monkeypatch.setattr("spa_cli.trial.choose.by_time", lambda request: request.options.round_to == "auto")
    monkeypatch.setattr("spa_cli.trial.choose.clock_of", lambda analysis, *_: _Steps(analysis.costs.nodes))
    monkeypatch.setattr("spa_cli.trial.trials.latency", lambda *_, **__: Timing(2.0, 1.0, 2.0, 1.0))
    net = build(TEXT, w1=(4, 160), w2=(160, 3))
    free, auto = (spa_cli.prune(net, method="l2", target_macs=0.62, round_to=r) for r in (1, "auto"))
    assert dict(free.cut_groups)[free.analysis.grouping.groups[0]] % 8
    assert [kept % 8 for _, kept in auto.cut_groups] == [0]
    assert auto.plan.about["multiples"] == {"16": 1}
    assert auto.after.macs / auto.before.macs <= 0.62


def test_a_file_that_is_slower_is_tried_in_coarser_widths(monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.trial.choose.by_time", lambda request: True)
    monkeypatch.setattr("spa_cli.trial.choose.clock_of", lambda analysis, *_: _Steps(analysis.costs.nodes))
    seen = []
    monkeypatch.setattr(Solver, "solve", _noting(Solver.solve, seen))
    monkeypatch.setattr("spa_cli.trial.trials.latency", lambda *_, **__: Timing(1.0, 1.5, 1.0, 1.5))
    result = prune("digits_resnet", target_macs=0.7)
    # in the end what loses least of those that took equally long
    assert seen == [*HURRY, HURRY[0]]
    assert result.slower.startswith("the result takes 1.50 of the original's time here")
    # faster than the original, but not than that when it is tidied
    monkeypatch.setattr("spa_cli.trial.trials.latency", lambda *_, **__: Timing(1.0, 0.5, 1.0, 0.5))
    monkeypatch.setattr("spa_cli.verification.speed.latency", lambda *_, **__: Timing(1.0, 1.5, 1.0, 1.5))
    seen.clear()
    prune("digits_resnet", target_macs=0.7, tidy=True)
    assert seen == [*HURRY, HURRY[0]]


@pytest.mark.parametrize(("left", "tried"), [([1.4, 1.2, 1.3], [*HURRY, HURRY[1]]), ([1.4, 1.3, 1.2], [*HURRY])])
def test_of_files_that_are_all_slower_the_fastest_is_kept(monkeypatch, left, tried) -> None:
    monkeypatch.setattr("spa_cli.trial.choose.by_time", lambda request: True)
    monkeypatch.setattr("spa_cli.trial.choose.clock_of", lambda analysis, *_: _Steps(analysis.costs.nodes))
    seen, rest = [], iter(left)
    monkeypatch.setattr(Solver, "solve", _noting(Solver.solve, seen))
    # of the file that is chosen again what it took before is known
    monkeypatch.setattr(
        "spa_cli.trial.trials.latency", lambda *_, **__: Timing(1.0, found := next(rest, 1.2), 1.0, found)
    )
    result = prune("digits_resnet", target_macs=0.7)
    assert seen == tried
    assert result.slower.startswith("the result takes 1.20 of the original's time here")


def _noting(solve, seen):
    def noted(self, budgets, hurry=0.0, near=False, bearable=math.inf):
        seen.append(hurry)
        # what is slower than the original may cost more, but not what it will
        assert bearable == BEARABLE[HURRY.index(hurry)]
        return solve(self, budgets, hurry, near, bearable)

    return noted


@pytest.mark.parametrize("name", ["digits_resnet", "digits_vit"])
def test_blocks_go_whole_where_they_are_worth_least(name) -> None:
    """Where hardly anything else may go, a block does; the file is the cut one's, and a plan carries it."""
    result = prune(name, target_macs=0.75, blocks=True, max_group_ratio=0.05)
    assert result.plan.about["blocks"]
    assert result.after.macs / result.before.macs <= 0.75
    with pytest.raises(UnreachableError, match="is the least that can be left"):
        prune(name, target_macs=0.75, max_group_ratio=0.05)
    again = spa_cli.apply(result.plan, model_path(name))
    assert again.after.macs == result.after.macs
    counted = analysed(result.model).costs
    assert counted.macs == result.after.macs


def test_a_latency_that_no_file_has_is_refused_with_the_closest(monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.trial.choose.clock_of", lambda analysis, *_: _Steps(analysis.costs.nodes))
    monkeypatch.setattr("spa_cli.trial.trials.latency", lambda *_, **__: Timing(1.0, 0.9, 1.0, 0.9))
    with pytest.raises(
        UnreachableError,
        match=r"target_latency 0\.85: 0\.900 of the original is the closest that was confirmed on the finished "
        "model; ask for that, or try again on a quieter machine",
    ):
        prune("digits_resnet", target_latency=0.85)


def test_what_is_predicted_for_elsewhere_counts_blocks_that_went_whole_as_gone() -> None:
    """What is predicted is what the file takes by the same profile, against what the original does."""
    result = prune("digits_resnet", target_macs=0.75, blocks=True, max_group_ratio=0.05, device="npu-16")
    assert result.plan.about["blocks"]
    told = profile_of("npu-16")
    whole, left = (sum(taken(m, told).values()) for m in (load(model_path("digits_resnet")).model, result.model))
    # a sum that adds a constant is left
    assert result.plan.about["predicted_latency"] == pytest.approx(left / whole, abs=1e-4)
