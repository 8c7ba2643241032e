"""How errors of layers compare."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spa_cli.analysis import analyse_model
from spa_cli.obspa.collect import collect
from spa_cli.obspa.consumers import Consumers
from spa_cli.obspa.directions import Directions, energies
from spa_cli.obspa.layers import find_layers
from spa_cli.obspa.positions import Positions
from spa_cli.obspa.sensitivity import Sensitivity
from spa_cli.runtime.load import load
from tests.builders import build

NET = """(float[N,4,6] x) => (y) {
  h = MatMul(x, wa)  r = Relu(h)  k = MatMul(r, wb)  s = Relu(k)  z = MatMul(s, wc)  t = Relu(z)  y = MatMul(t, wd) }"""


def test_energies_are_traces_whatever_norm_scales_the_rows() -> None:
    rng = np.random.default_rng(1)
    weight, scale = rng.normal(size=(5, 7)), rng.normal(size=(5, 1))
    weight[2] = 0
    x = rng.normal(size=(40, 7))
    h, g = x.T @ x / 40, np.cov(rng.normal(size=(5, 40)))
    own, felt = energies(g, weight * scale, weight, h)
    assert own == pytest.approx(np.trace((weight * scale) @ h @ (weight * scale).T))
    assert felt == pytest.approx(np.trace(g @ weight @ h @ weight.T))


class Net:
    """Four layers in a row, of which outputs feel the second ``felt`` times as much as the others."""

    def __init__(self, felt: float) -> None:
        model = build(NET, wa=(6, 8), wb=(8, 8), wc=(8, 8), wd=(8, 3))
        self.analysis = analyse_model(load(model), {"x": (32, 4, 6)})
        graph, shapes = self.analysis.graph, self.analysis.state.shapes
        self.layers = find_layers(graph, shapes)
        x = np.random.default_rng(0).normal(size=(32, 4, 6)).astype(np.float32)
        self.statistics = collect(graph, shapes, self.layers, [{"x": x}], Positions(0))
        metric = {}
        for layer in self.layers:
            known = self.statistics[layer.key]
            (w,) = known.weight
            # as felt as it is large beside what it is added into
            even = math.sqrt(len(w)) / known.spread
            metric[layer.key] = np.eye(len(w))[None] * even * (felt if layer.key == "k" else 1.0)
        self.sensitivity = Sensitivity(metric)
        self.directions = Directions(graph, self.layers, self.statistics, self.sensitivity)
        self.by_key = {layer.key: layer for layer in self.layers}

    def weights(self) -> dict[str, float]:
        return {key: self.directions.weight(layer) for key, layer in self.by_key.items()}


@pytest.mark.parametrize(("felt", "expected"), [(1.0, 1.0), (100.0, 10.0), (0.01, 1.0)])
def test_what_outputs_feel_more_than_the_median_counts_more_and_nothing_counts_less(felt, expected) -> None:
    found = Net(felt).weights()
    assert found.pop("k") == pytest.approx(expected, rel=1e-6)
    assert [*found.values()] == pytest.approx([1.0] * 3, rel=1e-6)


def test_layers_of_which_nothing_is_felt_count_as_they_are() -> None:
    net = Net(100.0)
    del net.sensitivity.metric["h"]
    again = Directions(net.analysis.graph, net.layers, net.statistics, net.sensitivity)
    assert again.weight(net.by_key["h"]) == 1.0 and again.felt(net.by_key["h"]) is None
    assert again.weight(net.by_key["k"]) == pytest.approx(10.0, rel=1e-6)


def test_directions_make_an_error_no_larger_in_all() -> None:
    net = Net(1.0)
    rng = np.random.default_rng(1)
    tilted = rng.normal(size=(8, 20))
    net.sensitivity.metric["k"] = (tilted @ tilted.T)[None]
    directions = Directions(net.analysis.graph, net.layers, net.statistics, net.sensitivity)
    (felt,) = directions.felt(net.by_key["k"])
    known = net.statistics["k"]
    (w,), (h,) = known.weight, known.moments.h
    assert np.trace(felt @ h @ felt.T) == pytest.approx(np.trace(w @ h @ w.T))
    assert not np.allclose(felt, w)


def test_readers_count_as_much_as_outputs_feel_them_and_all_alike_for_other_criteria() -> None:
    net = Net(100.0)
    grouping = net.analysis.grouping
    given = (net.analysis.graph, grouping, net.layers, net.statistics, {})
    # the group that the second layer reads
    index = next(i for i, g in enumerate(grouping.groups) if any(m.tensor == "wa" for m in g.members))
    ((plain,),), ((felt,),) = Consumers(*given)[index], Consumers(*given, net.directions)[index]
    assert felt.node == plain.node and plain.felt is None
    assert np.array_equal(felt.felt, net.directions.felt(net.by_key["k"])[0])
    assert felt.weight == pytest.approx(10 * plain.weight, rel=1e-6)
