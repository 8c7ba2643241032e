"""Scales of ones and biases of zeros, as before training: told by what is beside them, or refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa_cli
from spa_cli.errors import UsageError
from tests.builders import build, positive, random
from tests.weights import assert_commutes, planned, same, smaller
from tests.weights.test_values import attention, fused


def ones(n) -> np.ndarray:
    return np.ones(n, np.float32)


def zeros(n) -> np.ndarray:
    return np.zeros(n, np.float32)


def build_like(model, **values) -> onnx.ModelProto:
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    return model


CNN = """(float[N,3,8,8] x) => (y) {
  a = Conv(x, c1, d1)
  n = BatchNormalization(a, s, o, m, v)
  r = Relu(n)
  b = Conv(r, c2, d2)
  q = Relu(b)
  g = GlobalAveragePool(q)
  f = Flatten(g)
  y = MatMul(f, w)
}"""
TORCH = {
    "c1": "conv1.weight",
    "d1": "conv1.bias",
    "s": "bn1.weight",
    "o": "bn1.bias",
    "m": "bn1.running_mean",
    "v": "bn1.running_var",
    "c2": "conv2.weight",
    "d2": "conv2.bias",
    "w": "fc.weight",
}


def torch_names(w) -> dict[str, np.ndarray]:
    return {TORCH[n]: a.T if n == "w" else a for n, a in w.items()}


def test_beside_the_weights_of_the_same_node() -> None:
    """All of the same size: the convolution's bias, and a norm whose statistics are those of data."""
    model = build(
        CNN,
        c1=(8, 3, 3, 3),
        c2=(8, 8, 3, 3),
        w=(8, 4),
        d1=zeros(8),
        d2=zeros(8),
        s=ones(8),
        o=zeros(8),
        m=(8,),
        v=positive(8),
    )
    result = assert_commutes(model, torch_names)
    assert {n: result.how[n] for n in ("c1", "m", "d1", "d2", "s", "o")} == {
        **dict.fromkeys(("c1", "m"), "value"),
        **dict.fromkeys(("d1", "d2", "s", "o"), "sibling"),
    }
    assert result.matched["o"] == ["bn1.bias"]
    assert result.matched["d2"] == ["conv2.bias"]


def test_beside_what_was_cut_alike() -> None:
    """Nothing was trained: the norm's own values tell nothing, the sizes beside it do."""
    model = build(
        CNN,
        c1=(8, 3, 3, 3),
        c2=(6, 8, 3, 3),
        w=(6, 4),
        d1=random((8,), "d1"),
        d2=zeros(6),
        s=ones(8),
        o=zeros(8),
        m=zeros(8),
        v=ones(8),
    )
    named = {TORCH[n]: f"layer1.{TORCH[n]}" for n in ("c1", "d1", "s", "o", "m", "v")}

    def torch(w) -> dict[str, np.ndarray]:
        return {named.get(k, k): a for k, a in torch_names(w).items()}

    result = assert_commutes(model, torch)
    assert result.how["s"] == result.how["v"] == "sibling"
    assert set(result.matched["s"]) == {"layer1.bn1.weight", "layer1.bn1.running_var"}


def test_which_of_two_is_refused() -> None:
    """Two branches of the same sizes, cut differently, and norms whose names say nothing."""
    text = """(float[N,5] x) => (y) {
      a = MatMul(x, w1)
      n = LayerNormalization(a, s1, o1)
      p = MatMul(n, v1)
      b = MatMul(x, w2)
      m = LayerNormalization(b, s2, o2)
      q = MatMul(m, v2)
      y = Concat<axis=1>(p, q)
    }"""
    given = {"s1": ones(8), "o1": zeros(8), "s2": ones(8), "o2": zeros(8)}
    model = build(text, w1=(5, 8), w2=(5, 8), v1=(8, 3), v2=(8, 3), **given)
    plan, arrays = planned(model)
    flat = {f"net.{i}.{'scale' if a.ndim == 1 else 'kernel'}": a for i, a in enumerate(arrays.values())}
    with pytest.raises(UsageError, match=r"every value of 'o1' is 0, and 'net\.\d\.scale' or .* could be it; give"):
        spa_cli.apply_weights(plan, flat, model=model)
    shared = {"net.norm" if n == "s1" else f"net.{n}": a for n, a in arrays.items() if n != "s2"}
    with pytest.raises(
        UsageError, match=r"'net\.norm' is constant and could be 's[12]' or 's[12]', which the plan cuts"
    ):
        spa_cli.apply_weights(plan, shared, model=model)
    # beside the weights they follow, they are told; by their names too
    beside = {f"{'ab'[n[1] == '2']}.{n}": a for n, a in arrays.items()}
    result = spa_cli.apply_weights(plan, {k.replace("w1", "w"): a for k, a in beside.items()}, model=model)
    assert result.how["s1"] == "sibling"
    assert same(result.weights.tensors, {k.replace("w1", "w"): smaller(plan, arrays)[k[2:]] for k, a in beside.items()})
    assert same(spa_cli.apply_weights(plan, arrays, model=model).weights.tensors, smaller(plan, arrays))


def test_only_one_of_its_kind() -> None:
    text = "(float[N,7,5] x) => (y) { a = MatMul(x, w) n = LayerNormalization(a, s, o) y = MatMul(n, v) }"
    model = build(text, w=(5, 6), v=(6, 4), s=ones(6), o=zeros(6))
    result = assert_commutes(model, lambda w: {"in": w["w"], "norm": w["s"], "shift": w["o"], "out": w["v"]})
    assert result.matched["s"] == ["norm"]
    assert result.how["s"] == "sibling"


def test_biases_of_weights_put_together() -> None:
    """Zeros beside a fused weight: three biases in the framework, or one where the model has three."""
    zero = {"bqkv": zeros(36)}
    model = build_like(fused(), **zero)

    def separate(w) -> dict[str, np.ndarray]:
        parts = {n: (a, b) for n, a, b in zip("qkv", np.split(w["wqkv"].T, 3), np.split(w["bqkv"], 3), strict=True)}
        found = {f"{n}.{k}": t for n, (a, b) in parts.items() for k, t in (("weight", a), ("bias", b))}
        return found | {f"m.{n}": w[n] for n in ("w0", "wo", "wy")}

    result = assert_commutes(model, separate)
    assert result.matched["bqkv"] == ["q.bias", "k.bias", "v.bias"]

    model = build_like(attention(), bq=zeros(12), bk=zeros(12), bv=zeros(12))

    def together(w) -> dict[str, np.ndarray]:
        weight, bias = (np.concatenate([w[f"{k}{n}"].T for n in "qkv"]) for k in "wb")
        return {"attn.qkv_weight": weight, "attn.qkv_bias": bias} | {f"m.{n}": w[n] for n in ("w0", "wo", "wy")}

    result = assert_commutes(model, together)
    assert result.matched["bk"] == ["attn.qkv_bias"]


@pytest.mark.parametrize("prefix", ["blocks.0.", "x_"])
def test_equal_layers_that_an_exporter_made_one(prefix) -> None:
    """Copied layers are equal before training, and the model has each weight once; every copy is cut."""
    block = """
      {o}u = MatMul({i}, up)
      {o}b = Add({o}u, shift)
      {o}r = Relu({o}b)
      {o}n = LayerNormalization({o}r, scale)
      {o}d = MatMul({o}n, down)
      {o}e = Add({o}d, back)
      {o} = Add({i}, {o}e)
    """
    text = f"(float[N,7,5] x) => (y) {{ h = MatMul(x, w0) {block.format(i='h', o='p')} {block.format(i='p', o='q')}"
    values = {"up": (6, 8), "down": (8, 6), "shift": zeros(8), "back": zeros(6), "scale": ones(8)}
    model = build(f"{text} y = MatMul(q, w9) }}", w0=(5, 6), w9=(6, 4), **values)
    keys = {"up": "up.weight", "down": "down.weight", "shift": "up.bias", "back": "down.bias", "scale": "norm.weight"}
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = f"{prefix}{keys[name]}" if name in keys else name
    for tensor in model.graph.initializer:
        tensor.name = f"{prefix}{keys[tensor.name]}" if tensor.name in keys else tensor.name

    def torch(w) -> dict[str, np.ndarray]:
        copies = {f"blocks.{i}.{k}": w[f"{prefix}{k}"] for i in (0, 1) for k in keys.values()}
        return {"w0": w["w0"], **copies, "w9": w["w9"]}

    result = assert_commutes(model, torch)
    assert result.matched[f"{prefix}norm.weight"] == ["blocks.0.norm.weight", "blocks.1.norm.weight"]
    assert result.warnings == []


def test_a_constant_that_is_no_weight() -> None:
    """A norm without parameters still has a scale in the model; nothing in the weights is it, which is said."""
    text = "(float[N,7,5] x) => (y) { a = MatMul(x, w) n = LayerNormalization(a, s) y = MatMul(n, v) }"
    model = build(text, w=(5, 6), v=(6, 4), s=ones(6))
    plan, arrays = planned(model)
    result = spa_cli.apply_weights(plan, {"in": arrays["w"], "out": arrays["v"]}, model=model)
    cut = smaller(plan, arrays)
    assert same(result.weights.tensors, {"in": cut["w"], "out": cut["v"]})
    assert result.matched["s"] == []
    assert any("'s' is a constant that the weights don't have" in w for w in result.warnings)
    # retrained weights may hold it under another name: that would be a guess
    trained = {"w": arrays["w"] + 1, "v": arrays["v"], "scale": positive(6)}
    with pytest.raises(UsageError, match=r"the plan cuts 's' \[6\], which no tensor .*nearest: scale.*exported_with"):
        spa_cli.apply_weights(plan, trained, model=model)


def test_what_is_left_whole_beside_a_cut_is_said() -> None:
    """An exporter dropped a bias of zeros: the plan can't know it."""
    model = build("(float[N,5] x) => (y) { a = MatMul(x, w) y = MatMul(a, v) }", w=(5, 6), v=(6, 4))
    plan, arrays = planned(model)
    weights = {"up.weight": arrays["w"].T, "up.bias": zeros(6), "down.weight": arrays["v"].T}
    (warning,) = spa_cli.apply_weights(plan, weights, model=model).warnings
    assert warning == "'up.bias' [6] is not in the plan and was left whole, 'up.weight' beside it was cut to [4, 5]"
