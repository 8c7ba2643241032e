"""Repaired values under the framework's names: what a framework would make of the pruned model, or a refusal."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa_cli
from spa_cli.errors import UsageError
from tests.builders import build, positive
from tests.cli.running import refused, spa
from tests.weights import Arrays, mlp, same
from tests.weights.test_values import by_number, fused

CNN = """(float[N,3,8,8] x) => (y) {
  a = Conv(x, c1, d1)
  n = BatchNormalization(a, g, b, m, v)
  r = Relu(n)
  c = Conv(r, c2, d2)
  f = GlobalAveragePool(c)
  h = Flatten(f)
  y = MatMul(h, w)
}"""
NORM = {"g": positive(8), "b": (8,), "m": (8,), "v": positive(8) + 0.1}


def cnn(**more) -> onnx.ModelProto:
    shapes = {"c1": (8, 3, 3, 3), "d1": (8,), "c2": (6, 8, 3, 3), "d2": (6,), "w": (6, 4)}
    return build(CNN, **shapes | NORM | more)


def pruned(model, folder, **options) -> spa_cli.PruneResult:
    """Cut and repaired on samples that are like each other, so that there is something to repair."""
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    size = [d or 128 for d in dims]
    few = rng.standard_normal((3, *size[1:]))
    samples = np.tensordot(rng.standard_normal((size[0], 3)), few, 1) + 0.1 * rng.standard_normal(size)
    np.save(folder / "calib.npy", samples.astype(np.float32))
    return spa_cli.prune(model, ratio=0.4, calib=folder / "calib.npy", round_to=1, **options)


def arrays_of(model) -> Arrays:
    graph = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return {n: a for n, a in graph.items() if a.dtype == np.float32}


def turned(w: Arrays) -> Arrays:
    return by_number(w, np.transpose)


def torch(w: Arrays) -> Arrays:
    parts = zip("qkv", np.split(w["wqkv"].T, 3), np.split(w["bqkv"], 3), strict=True)
    pieces = [(f"{n}.weight", f"{n}.bias", a, b) for n, a, b in parts]
    return {k: v for wn, bn, a, b in pieces for k, v in ((wn, a), (bn, b))} | {n: w[n].T for n in ("wo", "wy", "w0")}


def half(w: Arrays) -> Arrays:
    return {n: a.astype(np.float16) for n, a in w.items()}


@pytest.mark.parametrize(
    ("model", "framework"),
    [
        (mlp(layer1__weight=(12, 5), layer1__bias=(12,), layer2__weight=(3, 12)), dict),
        (cnn(), dict),
        (cnn(), turned),
        (cnn(), lambda w: {f"model.{n}": a for n, a in w.items()}),
        (fused(), torch),
    ],
    ids=["by name", "norms", "transposed", "wrapped", "split"],
)
def test_the_framework_gets_what_the_pruned_model_has(model, framework, tmp_path) -> None:
    result = pruned(model, tmp_path)
    assert result.plan.about["repair"]["refitted"] >= 1
    found = spa_cli.apply_weights(result.plan, framework(arrays_of(model)), model=model, repaired=result.model)
    assert same(found.weights.tensors, framework(arrays_of(result.model)))
    cut = spa_cli.apply_weights(result.plan, framework(arrays_of(model)), model=model)
    differing = {k for k, t in cut.weights.tensors.items() if not np.array_equal(t, found.weights.tensors[k])}
    assert differing == {*found.repaired}
    assert not [w for w in found.warnings if "only cuts" in w]
    assert [w for w in cut.warnings if "give that with repaired and the model after the plan" in w]


def test_in_half_precision_they_are_rounded(tmp_path) -> None:
    model = cnn()
    exported = onnx.ModelProto()
    exported.CopyFrom(model)
    for tensor in exported.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("f2").astype("f4"), tensor.name))
    result = pruned(exported, tmp_path)
    weights = half(arrays_of(exported))
    found = spa_cli.apply_weights(result.plan, weights, model=exported, repaired=result.model)
    assert same(found.weights.tensors, half(arrays_of(result.model)))


def test_tied_tensors_stay_tied(tmp_path) -> None:
    model = mlp(layer1__weight=(12, 5), layer1__bias=(12,), layer2__weight=(3, 12))
    result = pruned(model, tmp_path)
    weights = arrays_of(model)
    found = spa_cli.apply_weights(
        result.plan, weights | {"head.weight": weights["layer2.weight"].copy()}, model=model, repaired=result.model
    )
    assert np.array_equal(found.weights.tensors["head.weight"], arrays_of(result.model)["layer2.weight"])


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple:
    model = cnn()
    return model, pruned(model, tmp_path_factory.mktemp("done"))


def refuse(done, says, weights=None, small=None, **options) -> None:
    model, result = done
    with pytest.raises(UsageError, match=says):
        spa_cli.apply_weights(
            result.plan, weights or arrays_of(model), repaired=small or result.model, **{"model": model} | options
        )


def test_it_needs_the_model_and_the_weights_it_was_exported_from(done) -> None:
    weights = arrays_of(done[0])
    refuse(done, "repaired finds its places through the model that was pruned; name that", model=None)
    refuse(done, "fitted to the weights before they were trained again; leave it out", exported_with=weights)
    trained = weights | {"c2": weights["c2"] + 1}
    refuse(done, "'c2' has other values in 'the weights' than in the model, and repaired would put those", trained)


def test_it_has_to_be_what_the_plan_makes_of_the_model(done) -> None:
    model, result = done
    refuse(done, r"'c1' of 'model' has shape \[8, 3, 3, 3\], the plan leaves \[\d, 3, 3, 3\]; give what", small=model)
    other = onnx.ModelProto()
    other.CopyFrom(result.model)
    other.graph.initializer.append(numpy_helper.from_array(np.float32([[1, 2]]), "more"))
    other.graph.node.append(onnx.helper.make_node("Add", ["y", "more"], ["unused"]))
    refuse(done, "'model' has a weight 'more' that the model has not, so it is no cut of it; give what", small=other)
    text = CNN.replace("BatchNormalization(a, g, b, m, v)", "Identity(a)")
    lacking = build(text, **{n: a for n, a in arrays_of(result.model).items() if n not in NORM})
    refuse(done, "'model' has no weight 'g', which the model has; give what ", small=lacking)


def test_what_has_no_place_is_refused(tmp_path) -> None:
    """A bias that an exporter split off, one of zeros among others, and a weight that two of the model share."""
    model = mlp(layer1__weight=(12, 5), layer1__bias=(12,), layer2__weight=(3, 12))
    result = pruned(model, tmp_path)
    weights = arrays_of(model)
    says = r"the repair changed 'layer2\.bias' \[3\], which no tensor of 'the weights' is; give the weights"
    refuse((model, result), says, {n: a for n, a in weights.items() if n != "layer2.bias"})
    zeros = mlp(
        layer1__weight=(12, 5), layer1__bias=(12,), layer2__weight=(3, 12), layer2__bias=np.zeros(3, np.float32)
    )
    given = {f"t{i}": a for i, a in enumerate(arrays_of(zeros).values())} | {"other": np.zeros(3, np.float32)}
    refuse(
        (zeros, pruned(zeros, tmp_path)), r"every value of 'layer2\.bias' is 0, and 't3' or 'other' could be it", given
    )


def test_values_that_are_shared_and_changed_differently_are_refused(tmp_path) -> None:
    shapes = {"w1": (12, 5), "w2": (12, 12), "w3": (3, 12)}
    text = """(float[N,5] x) => (y) { a = Gemm<transB=1>(x, w1)  r = Relu(a)  y = Gemm<transB=1>(r, w3)
      b = Gemm<transB=1>(x, w4)  s = Relu(b)  z = Gemm<transB=1>(s, w5) }"""
    del shapes["w2"]
    model = build(text.replace("=> (y)", "=> (y, z)"), **shapes, w4=(12, 5), w5=(3, 12))
    for tensor in model.graph.initializer:
        if tensor.name == "w5":
            (same_values,) = [t for t in model.graph.initializer if t.name == "w3"]
            tensor.raw_data = same_values.raw_data
    result = pruned(model, tmp_path)
    weights = {"first": arrays_of(model)["w1"], "second": arrays_of(model)["w4"], "tied": arrays_of(model)["w3"]}
    refuse((model, result), "the repair gave 'w3' and 'w5' different values, and all of them are 'tied'", weights)


def test_the_command(done, tmp_path) -> None:
    model, result = done
    onnx.save(model, tmp_path / "model.onnx")
    onnx.save(result.model, tmp_path / "small.onnx")
    (tmp_path / "plan.json").write_text(result.plan.to_json())
    np.savez(tmp_path / "weights.npz", **arrays_of(model))
    of = ["apply", tmp_path / "plan.json", tmp_path / "model.onnx"]
    repaired = ["--repaired", tmp_path / "small.onnx"]
    ran = spa(*of, "--weights", tmp_path / "weights.npz", *repaired, "-o", tmp_path / "small.npz")
    assert (ran.code, ran.err) == (0, "")
    assert "tensors have the values of the repair" in ran.out
    with np.load(tmp_path / "small.npz") as found:
        assert same(dict(found), arrays_of(result.model))
    ran = spa(*of, "--weights", tmp_path / "weights.npz", *repaired, "-o", tmp_path / "more.npz", "--json")
    assert "c2" in json.loads(ran.out)["repaired"]
    assert "--repaired says nothing without --weights; leave it out, or name" in refused(
        2, *of, *repaired, "-o", tmp_path / "x.onnx"
    )
