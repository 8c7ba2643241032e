"""What the figures are made from: lanes, arcs, layers, and whose a kernel's time is."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.channels.groups import Group, Member
from spa_cli.operators import contracting
from spa_cli.plan import to_selection
from spa_cli.report.page.curves import importance
from spa_cli.report.page.layers import layers
from spa_cli.report.page.structure import _arcs, _lanes
from spa_cli.runtime.profile import profile
from tests.samples import SAMPLES, model_path


def group(*nodes: tuple[str, str]) -> Group:
    members = tuple(Member(f"w{n}", 0, role, n, 1) for n, role in nodes)
    return Group(nodes[0][0], np.arange(4), np.zeros(0, np.int64), members, None)


def test_lanes_that_never_meet_share_a_column() -> None:
    rows = {name: at for at, name in enumerate("abcdefgh")}
    found = _lanes(
        [
            group(("a", "producer"), ("b", "pass-through"), ("c", "consumer")),
            group(("b", "producer"), ("h", "consumer")),
            group(("e", "producer"), ("e", "pass-through"), ("f", "consumer")),
        ],
        rows,
    )
    assert [(lane.number, lane.column) for lane in found] == [(1, 0), (2, 1), (3, 0)]
    assert found[2].marks == {4: "producer", 5: "consumer"}


def test_arcs_follow_the_data() -> None:
    analysis = spa_cli.inspect(model_path("digits_resnet"))
    names = [n.label for n in analysis.graph.all_nodes if n.op == "Conv"]
    arcs = _arcs(analysis.graph, {name: at for at, name in enumerate(names)})
    # the first block: in order, and around it
    assert {(0, 1), (1, 2), (2, 3), (0, 3)} <= set(arcs)
    assert all(a < b for a, b in arcs)


@pytest.mark.parametrize("name", SAMPLES)
def test_layers_add_up_to_the_model(name) -> None:
    analysis = spa_cli.inspect(model_path(name))
    found = layers(analysis)
    assert sum(x.macs[0] for x in found) <= analysis.costs.macs == sum(analysis.costs.by_node().values())
    assert found and all(x.width is None or x.width[0] == x.width[1] > 0 for x in found)


def test_layers_after_a_cut_are_those_of_the_result() -> None:
    result = spa_cli.prune(model_path("digits_resnet"), ratio=0.4, method="l2")
    shapes = {t.name: tuple(t.dims) for t in result.model.graph.initializer}
    analysis = result.analysis
    for layer in layers(analysis, to_selection(result.plan, analysis)):
        assert layer.width is not None
        assert layer.width == (analysis.graph.shape(layer.weight)[0], shapes[layer.weight][0])


@pytest.mark.parametrize("name", ["digits_resnet", "digits_mobilenet", "digits_vit"])
def test_kernels_go_to_the_layers_they_come_from(name) -> None:
    analysis = spa_cli.inspect(model_path(name))
    model = onnx.load(model_path(name))
    feeds = {n: np.zeros(s, np.float32) for n, s in analysis.input_shapes.items()}
    (found,) = profile([(model, "")], [feeds], contracting(), seconds=0.05)
    names = {x.name for x in layers(analysis) if x.macs[0]}
    assert names <= found.nodes.keys()
    assert found.total > 0
    # the model is as it was
    assert model.SerializeToString() == onnx.load(model_path(name)).SerializeToString()


def test_scores_below_zero_have_no_logarithm() -> None:
    drawn = importance([("a", np.array([-1.0, 0.0, 2.0]), 1), ("b", np.array([0.0]), 0)], "score")
    assert "<svg" in drawn.svg
    assert [str(row[0]) for row in drawn.rows] == ["a", "b"]
