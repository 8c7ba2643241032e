"""What is out of reach whatever channels are worth is said before any is ranked, and so that it can be asked for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa_cli
from spa_cli import pipeline
from spa_cli.errors import ModelError, UnreachableError
from spa_cli.options import Options
from spa_cli.sweeping import run as sweeping
from tests.builders import build, positive, random
from tests.samples import model_path

NET = build(
    """(float[N,3,6,6] x) => (y) {
      a = Conv<pads=[1,1,1,1]>(x, w1) n = BatchNormalization(a, s, s, s, s) r = Relu(n)
      c = Conv<pads=[1,1,1,1]>(r, w2) q = Relu(c) j = Concat<axis=1>(r, q)
      p = GlobalAveragePool(j) f = Flatten(p) y = Gemm(f, w3)
    }""",
    w1=(24, 3, 3, 3),
    s=positive(24),
    w2=(20, 24, 3, 3),
    w3=(44, 4),
)
OUT_OF_REACH = {
    "target_macs": 0.0001,
    "target_params": 0.0001,
    "target_size": 300,
    "ratio": 0.99,
}


def unrolled(steps: int, width: int = 8) -> onnx.ModelProto:
    """A recurrent layer, step by step, six nodes each."""
    nodes, constants = [], {"wx": random((4, width)), "wh": random((width, width)), "b": random((width,))}
    before = "h"
    constants |= {before: np.zeros((1, width), np.float32), "wy": random((width, 3))}
    for t in range(steps):
        constants[f"t{t}"] = np.array(t)
        nodes += [
            helper.make_node("Gather", ["x", f"t{t}"], [f"x{t}"], axis=1),
            helper.make_node("MatMul", [f"x{t}", "wx"], [f"a{t}"]),
            helper.make_node("MatMul", [before, "wh"], [f"r{t}"]),
            helper.make_node("Add", [f"a{t}", f"r{t}"], [f"s{t}"]),
            helper.make_node("Add", [f"s{t}", "b"], [f"u{t}"]),
            helper.make_node("Tanh", [f"u{t}"], [f"h{t}"]),
        ]
        before = f"h{t}"
    nodes.append(helper.make_node("MatMul", [before, "wy"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "unrolled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", steps, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def unranked(monkeypatch) -> None:
    """Nothing may be scored, nor measured."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was ranked")

    monkeypatch.setattr(pipeline, "score", never)
    monkeypatch.setattr(sweeping, "score", never)
    monkeypatch.setattr("spa_cli.trial.choose.clock_of", never)


@pytest.mark.parametrize("budget", OUT_OF_REACH)
def test_it_is_said_before_anything_is_ranked(budget, unranked) -> None:
    more = {"max_group_ratio": 0.9} if budget == "ratio" else {}
    with pytest.raises(UnreachableError, match=f"^{budget} .* can't be reached: .* is the least that can be left"):
        spa_cli.prune(NET, **{budget: OUT_OF_REACH[budget]}, **more)


@pytest.mark.parametrize("budget", OUT_OF_REACH)
@pytest.mark.parametrize("more", [{}, {"round_to": 8}, {"min_channels": 3}], ids=["free", "rounded", "floors"])
def test_what_it_names_can_be_asked_for(budget, more) -> None:
    more = more | ({"max_group_ratio": 0.9} if budget == "ratio" else {})
    with pytest.raises(UnreachableError) as refused:
        spa_cli.prune(NET, method="l1", **{budget: OUT_OF_REACH[budget]}, **more)
    least = re.search(r"can't be reached: ([\d.]+) ", str(refused.value))
    assert least is not None
    asked = int(least[1]) if budget == "target_size" else float(least[1])
    assert spa_cli.prune(NET, method="l1", **{budget: asked}, **more).after.channels > 0


def test_a_network_of_many_nodes(unranked) -> None:
    """Of 2,400 it takes three seconds."""
    model = unrolled(60)
    with pytest.raises(UnreachableError, match=r"target_macs 0\.0001 can't be reached: 0\.\d+ of the original"):
        spa_cli.prune(model, target_macs=0.0001)


def test_nothing_that_may_go_is_said_as_early(unranked) -> None:
    with pytest.raises(ModelError, match="nothing in 'model' can be pruned under these constraints"):
        spa_cli.prune(NET, target_macs=0.5, ignore=("*",))


def test_a_sweep_of_which_no_budget_can_be_met_is_over_at_once(unranked, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=r"^none of the budgets can be met: target_macs 0\.002 can't"):
        spa_cli.sweep(model_path("digits_mlp"), tmp_path, points=(0.002, 0.001))
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_of_which_one_can_goes_on(tmp_path: Path) -> None:
    found = sweeping.sweep(
        str(model_path("digits_mlp")), tmp_path, Options(method="l1"), budgets=(0.5, 0.0001), keep_models=False
    )
    assert [p.refused == "" for p in found.points] == [True, False]
