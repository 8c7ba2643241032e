"""What can't be carried out is refused in one sentence: folded norms, strangers, retrained weights without the old."""

from __future__ import annotations

import numpy as np
import pytest

import spa_cli
from spa_cli.errors import ModelError, UsageError
from spa_cli.plan import Plan
from spa_cli.weights.folded import is_scaled
from tests.builders import build, positive, random
from tests.weights import mlp, planned, same, smaller

CNN = """(float[N,3,8,8] x) => (y) {
  a = Conv(x, c1, d1)
  r = Relu(a)
  b = Conv(r, c2, d2)
  g = GlobalAveragePool(b)
  f = Flatten(g)
  y = MatMul(f, w)
}"""


LAST = [("c2", "weight"), ("d2", "bias")]


@pytest.fixture
def folded() -> tuple:
    """A model as an exporter left it that multiplied a norm into the first convolution, and PyTorch's weights."""
    c1, scale, shift = random((8, 3, 3, 3), "c1"), positive(8), random((8,), "o")
    shapes = {"c2": (6, 8, 3, 3), "d2": (6,), "w": (6, 4)}
    model = build(CNN, c1=c1 * scale[:, None, None, None], d1=shift, **shapes)
    plan, arrays = planned(model)
    norm = {
        "bn.weight": scale,
        "bn.bias": shift * 2,
        "bn.running_mean": random((8,), "m"),
        "bn.running_var": positive(8),
    }
    rest = {"conv2.weight": arrays["c2"], "conv2.bias": arrays["d2"], "fc.weight": arrays["w"].T}
    return model, plan, {"conv1.weight": c1, **norm, **rest}


def test_a_folded_norm(folded) -> None:
    model, plan, weights = folded
    with pytest.raises(UsageError, match=r"'c1' .* looks like 'conv1\.weight' with a normalisation folded in; export"):
        spa_cli.apply_weights(plan, weights, model=model)
    turned = {k: a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for k, a in weights.items()}
    with pytest.raises(UsageError, match=r"'c1' .* looks like 'conv1\.weight' with a normalisation folded in; export"):
        spa_cli.apply_weights(plan, turned, model=model)


def test_a_folded_norm_under_the_same_name(folded) -> None:
    """Some exporters keep the names; without the model that can only be suspected."""
    model, plan, weights = folded
    same_name = {**weights, "c1": weights["conv1.weight"], "d1": random((8,), "b"), "d2": weights["conv2.bias"]}
    del same_name["conv1.weight"]
    with pytest.raises(UsageError, match=r"'c1' of the model looks like 'c1' with a normalisation folded in"):
        spa_cli.apply_weights(plan, same_name, model=model)
    named = {"c1": "conv.weight", "d1": "conv.bias", "c2": "last.weight", "d2": "last.bias", "w": "fc.weight"}
    renamed = Plan({named[n]: e for n, e in plan.kept.items()})
    arrays = {n: a for n, a in same_name.items() if n in ("c1", "d1")} | {n: weights[f"conv2.{k}"] for n, k in LAST}
    alone = {named[n]: a for n, a in arrays.items()} | {"fc.weight": weights["fc.weight"].T}
    alone |= {k: a for k, a in weights.items() if k.startswith("bn.")}
    warnings = spa_cli.apply_weights(renamed, alone).warnings
    assert any("no normalisation is in the plan, but 'bn.running_mean' is in the weights" in w for w in warnings)


def test_training_is_not_folding() -> None:
    rng = np.random.default_rng(0)
    a = random((8, 12), "a")
    scale = positive(8)[:, None]
    assert is_scaled(a * scale, a)
    assert is_scaled(a.T * positive(12)[:, None], a)
    assert is_scaled((a * scale).astype(np.float16), a.astype(np.float16))
    assert not is_scaled(a * np.float32(0.9), a)
    assert not is_scaled((a * scale) * (1 + 1e-4 * rng.standard_normal(a.shape)).astype(np.float32), a)
    assert not is_scaled(random((8, 12), "b"), a)
    assert not is_scaled(random((8,), "b"), random((8,), "c"))


def test_retrained_under_other_names() -> None:
    model = mlp()
    plan, arrays = planned(model)
    before = {f"dense_{i}": a.T.copy() for i, a in enumerate(arrays.values())}
    after = {k: a + np.float32(1) for k, a in before.items()}
    with pytest.raises(UsageError, match=r"\[8, 5\], which no tensor .*nearest: dense_0.*exported_with"):
        spa_cli.apply_weights(plan, after, model=model)
    result = spa_cli.apply_weights(plan, after, model=model, exported_with=before)
    wanted = {f"dense_{i}": a.T + np.float32(1) for i, a in enumerate(smaller(plan, arrays).values())}
    assert same(result.weights.tensors, wanted)
    assert set(result.how.values()) == {"value"}
    other = {k: a * np.float32(2) for k, a in after.items()}
    with pytest.raises(UsageError, match="really exported from"):
        spa_cli.apply_weights(plan, after, model=model, exported_with=other)


def test_exported_with_has_to_be_the_same_weights() -> None:
    model = mlp()
    plan, arrays = planned(model)
    with pytest.raises(UsageError, match="needs the model"):
        spa_cli.apply_weights(plan, arrays, exported_with=arrays)
    less = {k: a for k, a in arrays.items() if k != "layer2.bias"}
    with pytest.raises(
        UsageError, match=r"'layer2\.bias' is missing in .* and has shape \[3\] in .*; exported_with takes"
    ):
        spa_cli.apply_weights(plan, less, model=model, exported_with=arrays)
    with pytest.raises(UsageError, match=r"'layer1\.bias' has shape \[9\] in .* and has shape \[8\] in .*"):
        spa_cli.apply_weights(plan, {**arrays, "layer1.bias": np.ones(9)}, model=model, exported_with=arrays)


def test_what_obspa_refitted_is_not_in_the_plan() -> None:
    plan, arrays = planned(mlp())
    refitted = Plan(plan.kept, {"repair": {"refitted": 2}})
    (said,) = spa_cli.apply_weights(refitted, arrays).warnings
    assert said.endswith("are in the pruned .onnx; give that with repaired and the model after the plan, or fine-tune")


def test_retrained_under_the_same_names_needs_nothing() -> None:
    model = mlp()
    plan, arrays = planned(model)
    trained = {k: a + random(a.shape, k) for k, a in arrays.items()}
    for given in (None, model):
        result = spa_cli.apply_weights(plan, trained, model=given)
        assert same(result.weights.tensors, smaller(plan, trained))


def test_the_plan_has_to_fit_the_model() -> None:
    plan, arrays = planned(mlp())
    with pytest.raises(UsageError, match="which this model doesn't have"):
        spa_cli.apply_weights(plan, arrays, model=build("(float[N,5] x) => (y) { y = MatMul(x, w) }", w=(5, 3)))
    half = Plan({n: e for n, e in plan.kept.items() if n != "layer1.bias"})
    with pytest.raises(UsageError, match="not consistent"):
        spa_cli.apply_weights(half, arrays, model=mlp())
    with pytest.raises(UsageError, match="keeps everything"):
        spa_cli.apply_weights(Plan({}), arrays)
    with pytest.raises(ModelError, match="there is no file"):
        spa_cli.apply_weights(plan, arrays, model="nowhere.onnx")


def test_what_is_no_grid_in_the_framework() -> None:
    """Two plain layers in the model, one tensor in the framework, cut where a tensor can't be."""
    text = (
        "(float[N,5] x) => (y) { a = MatMul(x, w1) b = MatMul(a, w2) r = Relu(b) c = MatMul(r, w3) y = MatMul(c, w4) }"
    )
    model = build(text, w1=(5, 6), w2=(6, 6), w3=(6, 6), w4=(6, 2))
    plan, arrays = planned(model, seed=1)
    assert plan.kept["w2"]["0"] != plan.kept["w3"]["0"]
    stacked = {"in": arrays["w1"], "blocks": np.stack([arrays["w2"], arrays["w3"]]), "out": arrays["w4"]}
    result = spa_cli.apply_weights(plan, stacked, model=model)
    # layers of the same sizes may well be stacked, each with its own channels left
    assert np.array_equal(result.weights.tensors["blocks"], np.stack([smaller(plan, arrays)[n] for n in ("w2", "w3")]))
    uneven = planned(model, seed=1, only="w2")[0]
    with pytest.raises(UsageError, match=r"is no tensor in 'blocks' .* \[2, 6, 6\]"):
        spa_cli.apply_weights(uneven, stacked, model=model)


def test_weights_of_other_widths() -> None:
    """All indices that stay are there, and would be other channels; with a model, its axes are the plan's."""
    plan, arrays = planned(mlp(), seed=1)
    cut_axes = {n: int(next(iter(axes))) for n, axes in plan.kept.items()}
    wider = {n: np.concatenate([a, a], cut_axes[n]) if n in cut_axes else a for n, a in arrays.items()}
    says = (
        r"for 8 indices of 'layer1\.weight' along axis 0, and its shape in 'the weights' is \[16, 5\]; give the model"
    )
    with pytest.raises(UsageError, match=says):
        spa_cli.apply_weights(plan, wider)
    assert spa_cli.apply_weights(plan, arrays).params[1] < sum(a.size for a in arrays.values())
    lying_otherwise = {n: a.T.copy() for n, a in arrays.items()}
    with pytest.raises(UsageError, match="made for 8 indices"):
        spa_cli.apply_weights(plan, lying_otherwise)
    turned = spa_cli.apply_weights(plan, lying_otherwise, model=mlp())
    assert turned.shapes["layer1.weight"] == ((5, 8), (5, len(plan.kept["layer1.weight"]["0"])))


def test_a_framework_keeps_its_layers() -> None:
    kept = {"a.weight": {"0": [1]}, "b.weight": {"0": [[], []], "1": [2]}}
    with pytest.raises(
        UsageError, match=r"takes out a whole block \('b\.weight' keeps nothing\).*; cut the exported model"
    ):
        spa_cli.apply_weights(Plan(kept), {})
