"""Names: the same, behind wrappers, behind a common prefix; what is ambiguous is refused."""

from __future__ import annotations

import numpy as np
import pytest

import spa_cli
from spa_cli.errors import UsageError
from spa_cli.plan import Plan
from spa_cli.weights.names import by_name, module, nearest
from tests.weights import MLP_SHAPES, assert_commutes, mlp, planned, same, smaller

NAMES = [n.replace("__", ".") for n in MLP_SHAPES]


@pytest.mark.parametrize(
    "rename",
    [
        lambda n: n,
        lambda n: f"model.{n}",
        lambda n: f"module.model.{n}",
        lambda n: f"_orig_mod.{n}",
        lambda n: n.replace("layer2.", "layer2._orig_mod."),
        lambda n: f"backbone.body.{n}",
        lambda n: "params/" + n.replace(".", "/"),
    ],
)
def test_wrappers_and_prefixes_do_not_matter(rename) -> None:
    assert by_name(NAMES, map(rename, NAMES)) == {n: [rename(n)] for n in NAMES}
    assert by_name(map(rename, NAMES), NAMES) == {rename(n): [n] for n in NAMES}
    plan, arrays = planned(mlp())
    result = spa_cli.apply_weights(plan, {rename(n): a for n, a in arrays.items()})
    assert same(result.weights.tensors, {rename(n): a for n, a in smaller(plan, arrays).items()})
    assert set(result.how.values()) == {"name"}
    assert result.matched == {n: [rename(n)] for n in plan.kept}


def test_both_sides_may_be_wrapped() -> None:
    assert by_name(["model.a.weight"], ["module.a.weight"]) == {"model.a.weight": ["module.a.weight"]}


def test_the_same_name_comes_first() -> None:
    assert by_name(["model.a.w"], ["a.w", "model.a.w"]) == {"model.a.w": ["model.a.w"]}


def test_a_prefix_has_to_fit_most_names() -> None:
    names = ["a.w", "b.w", "c.w"]
    found = by_name(names, ["net.a.w", "net.b.w", "ema.a.w", "net.c.w"])
    assert found == {n: [f"net.{n}"] for n in names}
    # two names behind two prefixes have none in common
    assert by_name(["a.w", "b.v"], ["one.a.w", "two.b.v"]) == {"a.w": [], "b.v": []}
    # once some names are the same, nobody's suffix counts
    assert by_name(["a.w", "w"], ["a.w", "other.w"]) == {"a.w": ["a.w"], "w": []}


def test_ambiguous_suffixes_are_refused() -> None:
    plan, arrays = planned(mlp())
    two = {f"{p}.{n}": a for p in ("teacher", "student") for n, a in arrays.items()}
    with pytest.raises(
        UsageError, match=r"could be 'teacher\.layer1\.weight' or 'student\.layer1\.weight'; give the model and"
    ):
        spa_cli.apply_weights(plan, two)
    both = {f"{p}{n}": a for p in ("module.", "model.") for n, a in arrays.items()}
    with pytest.raises(UsageError, match=r"'module\.layer1\.weight' or 'model\.layer1\.weight'"):
        spa_cli.apply_weights(plan, both)


def test_a_name_nobody_has_is_refused_with_the_nearest() -> None:
    plan, arrays = planned(mlp())
    arrays["layer_1.bias"] = arrays.pop("layer1.bias")
    with pytest.raises(UsageError, match=r"cuts 'layer1\.bias', which no tensor .*nearest: layer_1\.bias, .*give the"):
        spa_cli.apply_weights(plan, arrays)
    hidden = Plan({}, {}, {"inner.weight": {"0": [0, 1]}})
    with pytest.raises(UsageError, match=r"cuts 'inner\.weight'"):
        spa_cli.apply_weights(hidden, arrays)


@pytest.mark.parametrize("entry", [{"0": [0, 9]}, {"2": [0]}, {"1": [[0], [1], [2]]}])
def test_an_entry_the_shape_does_not_have_is_refused(entry) -> None:
    _, arrays = planned(mlp())
    with pytest.raises(UsageError, match=r"in a way that its shape .* doesn't have"):
        spa_cli.apply_weights(Plan({"layer1.weight": entry}), arrays)


def test_blocks_of_what_became_a_single_number_are_refused() -> None:
    _, arrays = planned(mlp())
    arrays["layer1.weight"] = np.float32(3)
    with pytest.raises(UsageError, match=r"in a way that its shape \[\] .* doesn't have"):
        spa_cli.apply_weights(Plan({"layer1.weight": {"0": [0], "1": [[0], [1]]}}), arrays)


def test_names_only_in_the_plans_hidden_tensors() -> None:
    _, arrays = planned(mlp())
    plan = Plan({"layer1.bias": {"0": [0, 2]}}, {}, {"layer1.weight": {"0": [0, 2]}, "layer2.weight": {"1": [0, 2]}})
    result = spa_cli.apply_weights(plan, arrays)
    assert same(result.weights.tensors, smaller(plan, arrays))


def test_a_transposed_weight_of_the_same_name() -> None:
    """Retrained, so that only the sizes tell; values tell where they can, also for a square one."""
    model = mlp()
    plan, arrays = planned(model)
    trained = {n: (a * 1.5 + 0.1).T for n, a in arrays.items()}
    result = spa_cli.apply_weights(plan, trained, model=model)
    wanted = {n: (a * 1.5 + 0.1).T for n, a in smaller(plan, arrays).items()}
    assert all(np.array_equal(result.weights.tensors[n], w) for n, w in wanted.items())
    square = mlp(layer2__weight=(8, 8), layer2__bias=(8,))
    assert set(assert_commutes(square, lambda arrays: {n: a.T for n, a in arrays.items()}).how.values()) == {"name"}


def test_a_reshaped_weight_of_the_same_name() -> None:
    model = mlp()
    plan, arrays = planned(model)
    trained = {n: np.float32(2) * a[..., None, None] for n, a in arrays.items()}
    result = spa_cli.apply_weights(plan, trained, model=model)
    assert same(
        result.weights.tensors, {n: np.float32(2) * a[..., None, None] for n, a in smaller(plan, arrays).items()}
    )


def test_a_shape_that_does_not_tell_is_refused() -> None:
    model = mlp()
    plan, arrays = planned(model)
    with pytest.raises(UsageError, match=r"'layer1\.weight' has shape \[8, 5\], .* has shape \[9, 5\], which doesn't"):
        spa_cli.apply_weights(plan, {**arrays, "layer1.weight": np.ones((9, 5), np.float32)}, model=model)


def test_module_and_nearest() -> None:
    assert (module("a.b.weight"), module("a/b/kernel"), module("weight")) == ("a.b.", "a/b/", "")
    tensors = {"conv1.weight": np.ones((2, 1, 3)), "conv1.bias": np.ones(2), "fc.weight": np.ones((3, 2))}
    assert set(nearest("onnx::Conv_1", (3, 2), tensors)) == {"fc.weight", "conv1.weight"}
    assert nearest("conv1.weigth", None, tensors)[0] == "conv1.weight"
