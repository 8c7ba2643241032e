"""Choosing under a budget and constraints."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa_cli
from spa_cli.analysis import Analysis, analyse_model
from spa_cli.budget.choose import TOLERANCE, Order
from spa_cli.channels.selection import Selection
from spa_cli.errors import UnreachableError
from spa_cli.graph.source import Source
from spa_cli.runtime.load import load
from tests.builders import build, order_of, rankings
from tests.samples import SAMPLES, model_path


def _mlp(*widths: int) -> onnx.ModelProto:
    """Gemm layers of these widths with Relu between them."""
    rng = np.random.default_rng(0)
    nodes, weights, x = [], [], "x"
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        weights.append(numpy_helper.from_array(rng.standard_normal((a, b)).astype(np.float32), f"layer{i}.weight"))
        out = "y" if i == len(widths) - 2 else f"h{i}"
        nodes.append(helper.make_node("Gemm", [x, f"layer{i}.weight"], [out], name=f"dense_{i}"))
        if out != "y":
            nodes.append(helper.make_node("Relu", [out], [f"r{i}"]))
        x = f"r{i}"
    info = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, w]) for n, w in (("x", widths[0]), ("y", widths[-1]))
    ]
    graph = helper.make_graph(nodes, "mlp", info[:1], info[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _analysis(model: onnx.ModelProto | str) -> Analysis:
    return analyse_model(Source(model, "m") if isinstance(model, onnx.ModelProto) else load(model_path(model)), {})


def _order(analysis: Analysis, method: str = "l1", **constraints: object) -> Order:
    return order_of(analysis, rankings(analysis, method), **constraints)


def _kept(analysis: Analysis, selection: Selection) -> dict[str, int]:
    """Channels left per group."""
    left = {g.name: g.channels for g in analysis.grouping.groups}
    return left | {g.name: int(m.reshape(-1, m.shape[-1])[0].sum()) for g, m in selection.groups()}


def _removed(analysis: Analysis, selection: Selection) -> int:
    return analysis.channels - sum(_kept(analysis, selection).values())


def _widths(analysis: Analysis, selection: Selection) -> dict[tuple[str, int], int]:
    return {place: int(selection.mask(rows).sum()) for place, rows in analysis.grouping.rows.items()}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.5, 0.77])
def test_ratio_is_the_share_of_all_removable_channels(name, ratio) -> None:
    analysis = _analysis(name)
    order = _order(analysis)
    assert order.total == analysis.channels
    assert _removed(analysis, order.selection(order.by_ratio(ratio))) == round(ratio * order.total)


def test_a_tiny_ratio_removes_one_channel() -> None:
    analysis = _analysis(_mlp(4, 8, 3))
    order = _order(analysis)
    assert _removed(analysis, order.selection(order.by_ratio(0.001))) == 1


@pytest.mark.parametrize("name", SAMPLES)
def test_a_larger_ratio_removes_a_superset(name) -> None:
    analysis = _analysis(name)
    order = _order(analysis)
    last = None
    for ratio in (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8):
        selection = order.selection(order.by_ratio(ratio))
        costs = analysis.costs.after(selection)
        if last is not None:
            before, cost_before = last
            assert costs[0] <= cost_before[0]
            assert costs[1] <= cost_before[1]
            for index, mask in before.kept.items():
                assert not (selection.kept[index] & ~mask).any(), "a channel came back"
        last = selection, costs


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("multiple", [4, 8])
def test_round_to_leaves_multiples(name, multiple) -> None:
    analysis = _analysis(name)
    order = _order(analysis, round_to=multiple)
    selection = order.selection(order.steps[: max(1, 2 * len(order.steps) // 5)])
    widths, before = _widths(analysis, selection), analysis.grouping.rows
    touched = [place for place, width in widths.items() if width < len(before[place])]
    assert touched
    for place in touched:
        # each step removes a multiple's worth of the layer's width, so it stays what it was modulo the multiple
        weight = place[0] in analysis.graph.parameters
        assert not weight or widths[place] % multiple == 0, place


@pytest.mark.parametrize("name", SAMPLES)
def test_min_channels_holds_in_every_layer(name) -> None:
    analysis = _analysis(name)
    order = _order(analysis, min_channels=10)
    selection = order.selection(order.steps)
    weights = set(analysis.graph.weights())
    for (tensor, axis), width in _widths(analysis, selection).items():
        if tensor in weights:
            assert width >= min(10, len(analysis.grouping.rows[tensor, axis])), (tensor, axis)


@pytest.mark.parametrize("cap", [0.25, 0.5])
@pytest.mark.parametrize("name", ["digits_resnet", "digits_vit"])
def test_max_group_ratio_caps_every_group(name, cap) -> None:
    analysis = _analysis(name)
    order = _order(analysis, max_group_ratio=cap)
    kept = _kept(analysis, order.selection(order.steps))
    for group in analysis.grouping.groups:
        assert kept[group.name] >= math.ceil((1 - cap) * group.channels)
    with pytest.raises(UnreachableError, match=f"at most {100 * cap:.1f}%|at most"):
        order.by_ratio(0.9)


@pytest.mark.parametrize("name", SAMPLES)
def test_no_layer_is_ever_emptied(name) -> None:
    analysis = _analysis(name)
    order = _order(analysis, "random")
    for steps in (order.steps, order.by_ratio(0.95)):
        selection = order.selection(steps)
        assert min(_widths(analysis, selection).values()) >= 1
        assert all(mask.any(-1).all() for mask in selection.kept.values())


def test_everything_at_once_is_unreachable_and_says_what_is_not() -> None:
    order = _order(_analysis(_mlp(4, 8, 8, 3)))
    with pytest.raises(UnreachableError, match=r"at most 87\.5% of the 16 removable channels"):
        order.by_ratio(0.99)


@pytest.mark.parametrize(
    ("pattern", "touched", "made"),
    [
        ("layer1.weight", {"layer0.weight", "layer1.weight"}, {"layer1.weight"}),
        ("dense_1", {"layer0.weight", "layer1.weight"}, {"layer1.weight"}),
        ("layer2.*", {"layer1.weight", "layer2.weight"}, {"layer2.weight"}),
    ],
    ids=["a group and its first producer", "a node", "all tensors of a layer"],
)
def test_ignore_leaves_what_it_names_whole_and_only_cuts_what_it_names_makes(pattern, touched, made) -> None:
    analysis = _analysis(_mlp(4, 8, 8, 8, 3))
    every = {g.name for g in analysis.grouping.groups}
    ignored = _order(analysis, ignore=(pattern,))
    assert {analysis.grouping.groups[i].name for i in ignored.eligible} == every - touched
    only = _order(analysis, only=(pattern,))
    assert {analysis.grouping.groups[i].name for i in only.eligible} == made
    kept = _kept(analysis, only.selection(only.steps))
    assert {n for n, left in kept.items() if left < 8} == made


def test_ignore_wins_over_only() -> None:
    analysis = _analysis(_mlp(4, 8, 8, 8, 3))
    order = _order(analysis, only=("layer*",), ignore=("layer3.*",))
    assert {analysis.grouping.groups[i].name for i in order.eligible} == {"layer0.weight", "layer1.weight"}


def test_patterns_are_case_sensitive_and_match_whole_names() -> None:
    analysis = _analysis(_mlp(4, 8, 3))
    assert not _order(analysis, only=("LAYER0.*",)).eligible
    assert not _order(analysis, only=("layer0",)).eligible


def test_exact_only_leaves_approximate_groups_whole() -> None:
    analysis = _analysis("digits_vit")
    approximate = {g.name for g in analysis.grouping.groups if not g.exact}
    order = _order(analysis, exact_only=True)
    kept = _kept(analysis, order.selection(order.steps))
    assert approximate
    for group in analysis.grouping.groups:
        assert (kept[group.name] == group.channels) == (group.name in approximate)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("which", [0, 1], ids=["params", "macs"])
@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.75, 0.9])
def test_targets_are_met_within_two_percent(name, which, fraction) -> None:
    analysis = _analysis(name)
    order = _order(analysis)
    dense = (analysis.costs.params, analysis.costs.macs)[which]
    selection = order.selection(order.by_cost(fraction, lambda s: analysis.costs.after(s)[which] / dense, "x"))
    left = analysis.costs.after(selection)[which] / dense
    assert fraction - 0.02 <= left <= fraction


def test_a_target_out_of_reach_names_the_best_there_is() -> None:
    analysis = _analysis("digits_vit")
    order = _order(analysis, only=("head.weight", "*fc*", "nothing"), exact_only=True, max_group_ratio=0.5)
    if not order.steps:
        order = _order(analysis, exact_only=True, max_group_ratio=0.25)

    def cost(selection: Selection) -> float:
        return analysis.costs.after(selection)[0] / analysis.costs.params

    least = cost(order.selection(order.steps))
    with pytest.raises(
        UnreachableError, match=rf"asked was 0\.100 of the original, {least:.3f} of the original is the least"
    ):
        order.by_cost(0.1, cost, "params")


def test_a_target_between_two_coarse_steps_names_the_closest() -> None:
    """One group of two channels: half or nothing."""
    analysis = _analysis(_mlp(4, 2, 4))
    order = _order(analysis)
    with pytest.raises(UnreachableError, match=r"0\.500 of the original is the closest below"):
        order.by_cost(0.9, lambda s: analysis.costs.after(s)[1] / analysis.costs.macs, "macs")


def test_the_least_important_go_first() -> None:
    """A layer with known magnitudes loses them in order."""
    model = _mlp(4, 6, 4)
    magnitudes = np.array([5.0, 1.0, 4.0, 2.0, 6.0, 3.0], np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.tile(magnitudes, (4, 1)), "layer0.weight"))
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.tile(magnitudes[:, None], (1, 4)), "layer1.weight"))
    analysis = _analysis(model)
    order = _order(analysis)
    (mask,) = order.selection(order.by_ratio(0.5)).kept.values()
    assert np.flatnonzero(mask).tolist() == [0, 2, 4]


@pytest.mark.parametrize("method", ["l1", "l2"])
def test_dead_channels_go_before_any_other(method) -> None:
    model = _mlp(4, 6, 8, 4)
    for index, axis in ((0, 1), (1, 0)):
        weight = numpy_helper.to_array(model.graph.initializer[index]).copy()
        np.moveaxis(weight, axis, 0)[[1, 4]] = 0
        model.graph.initializer[index].CopyFrom(numpy_helper.from_array(weight, f"layer{index}.weight"))
    analysis = _analysis(model)
    order = _order(analysis, method)
    (mask,) = order.selection(order.by_ratio(2 / 14)).kept.values()
    assert np.flatnonzero(~mask).tolist() == [1, 4]


COARSE = {"wa": (6, 7), "wb": (7, 11), "wc": (11, 5)}


@pytest.mark.parametrize("target", [0.3, 0.41, 0.5, 0.6, 0.667, 0.75, 0.83, 0.9])
def test_coarse_models_meet_every_target_that_any_combination_meets(target) -> None:
    model = build("(float[1,6] x) => (y) { a = MatMul(x, wa)  b = MatMul(a, wb)  y = MatMul(b, wc) }", **COARSE)
    widths = itertools.product(range(1, 8), range(1, 12))
    costs = [(6 * i + i * j + 5 * j) / (6 * 7 + 7 * 11 + 5 * 11) for i, j in widths]
    reachable = any(target - TOLERANCE <= cost <= target for cost in costs)
    if not reachable:
        with pytest.raises(UnreachableError):
            spa_cli.prune(model, target_macs=target, method="l1")
        return
    result = spa_cli.prune(model, target_macs=target, method="l1")
    assert target - TOLERANCE <= result.after.macs / result.before.macs <= target
