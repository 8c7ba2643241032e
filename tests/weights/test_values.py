"""ValueIndex tell where a name doesn't: turned, reshaped, put together, taken apart, cast, shared."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.errors import UsageError
from tests.builders import build, inside, random
from tests.samples import SAMPLES, model_path
from tests.weights import assert_commutes, mlp, planned, same, smaller

CNN = """(float[N,3,8,8] x) => (y) {
  a = Conv(x, c1, d1)
  r = Relu(a)
  b = Conv(r, c2)
  g = GlobalAveragePool(b)
  f = Flatten(g)
  y = MatMul(f, w)
}"""
ATTENTION = """(float[N,T,5] x) => (y) {
  h = MatMul(x, w0)
  q0 = MatMul(h, wq)
  q = Add(q0, bq)
  k0 = MatMul(h, wk)
  k = Add(k0, bk)
  v0 = MatMul(h, wv)
  v = Add(v0, bv)
  qs = Reshape(q, heads)
  qt = Transpose<perm=[0,2,1,3]>(qs)
  ks = Reshape(k, heads)
  kt = Transpose<perm=[0,2,3,1]>(ks)
  vs = Reshape(v, heads)
  vt = Transpose<perm=[0,2,1,3]>(vs)
  s = MatMul(qt, kt)
  p = Softmax<axis=-1>(s)
  o = MatMul(p, vt)
  ot = Transpose<perm=[0,2,1,3]>(o)
  m = Reshape(ot, flat)
  z = MatMul(m, wo)
  y = MatMul(z, wy)
}"""
FUSED = """(float[N,T,5] x) => (y) {
  h = MatMul(x, w0)
  a0 = MatMul(h, wqkv)
  a = Add(a0, bqkv)
  s = Reshape(a, five)
  t = Transpose<perm=[2,0,3,1,4]>(s)
  q, k, v = Split<axis=0, num_outputs=3>(t)
  kt = Transpose<perm=[0,1,2,4,3]>(k)
  d = MatMul(q, kt)
  p = Softmax<axis=-1>(d)
  o = MatMul(p, v)
  u = Squeeze(o, zero)
  ot = Transpose<perm=[0,2,1,3]>(u)
  m = Reshape(ot, flat)
  z = MatMul(m, wo)
  y = MatMul(z, wy)
}"""


def attention() -> onnx.ModelProto:
    biases = {f"b{n}": (12,) for n in "qkv"}
    weights = {f"w{n}": (7, 12) for n in "qkv"}
    shapes = {"heads": [0, 0, 3, 4], "flat": [0, 0, 12]}
    return build(ATTENTION, w0=(5, 7), wo=(12, 7), wy=(7, 4), **biases, **weights, **shapes)


def fused() -> onnx.ModelProto:
    shapes = {"five": [0, 0, 3, 3, 4], "flat": [0, 0, 12], "zero": [0]}
    return build(FUSED, w0=(5, 7), wqkv=(7, 36), bqkv=(36,), wo=(12, 7), wy=(7, 4), **shapes)


def by_number(arrays, change=lambda a: a) -> dict[str, np.ndarray]:
    return {f"t{i}": change(a) for i, a in enumerate(arrays.values())}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_transposed_under_other_names(name) -> None:
    """Real weights, as four exporters and frameworks left them; norms and biases are trained, so values tell all."""
    result = assert_commutes(model_path(name), lambda w: by_number(w, np.transpose), seeds=[0])
    assert set(result.how.values()) == {"value"}
    assert result.warnings == []


def test_flax_kernels() -> None:
    """HWIO against OIHW, also where in and out are the same."""
    model = build(CNN, c1=(8, 3, 3, 3), d1=(8,), c2=(8, 8, 3, 3), w=(8, 4))
    assert_commutes(model, lambda w: by_number(w, lambda a: a.transpose(2, 3, 1, 0) if a.ndim == 4 else a))


def test_kernels_by_head() -> None:
    """Flax keeps (in, heads, inside) and (heads, inside, out); heads may keep different channels."""

    def flax(w) -> dict[str, np.ndarray]:
        heads = {n: w[n].reshape(*w[n].shape[:-1], 3, -1) for n in w if n[1] in "qkv"}
        return {"in": w["w0"], **{f"k{n}": a for n, a in heads.items()}, "o": w["wo"].reshape(3, -1, 7), "y": w["wy"]}

    plan, arrays = planned(attention(), only="/inside")
    result = spa_cli.apply_weights(plan, flax(arrays), model=attention())
    assert same(result.weights.tensors, flax(smaller(plan, arrays)))
    assert set(result.how.values()) == {"value"}
    assert result.shapes["kwq"][1] != result.shapes["kwq"][0]


def test_separate_in_the_framework_fused_in_the_model() -> None:
    def torch(w) -> dict[str, np.ndarray]:
        parts = zip("qkv", np.split(w["wqkv"].T, 3), np.split(w["bqkv"], 3), strict=True)
        pieces = [(f"{n}.weight", f"{n}.bias", a, b) for n, a, b in parts]
        return {k: v for wn, bn, a, b in pieces for k, v in ((wn, a), (bn, b))} | {
            n: w[n].T for n in ("wo", "wy", "w0")
        }

    result = assert_commutes(fused(), torch)
    assert result.matched["wqkv"] == ["q.weight", "k.weight", "v.weight"]
    assert result.matched["bqkv"] == ["q.bias", "k.bias", "v.bias"]
    assert result.how["wqkv"] == "value"


@pytest.mark.parametrize("interleaved", [False, True])
def test_fused_in_the_framework_separate_in_the_model(interleaved) -> None:
    """``in_proj_weight``; or, as GPT-NeoX has it, q, k and v of a head side by side."""

    def join(parts) -> np.ndarray:
        if not interleaved:
            return np.concatenate(parts)
        heads = [p.reshape(3, 1, -1, *p.shape[1:]) for p in parts]
        joined = np.concatenate(heads, 1)
        return joined.reshape(-1, *joined.shape[3:])

    def torch(w) -> dict[str, np.ndarray]:
        return {
            "in_proj_weight": join([w[f"w{n}"].T for n in "qkv"]),
            "in_proj_bias": join([w[f"b{n}"] for n in "qkv"]),
            **{f"m.{n}": w[n].T for n in ("w0", "wo", "wy")},
        }

    for only in ("/inside", "w0"):
        plan, arrays = planned(attention(), only=only)
        result = spa_cli.apply_weights(plan, torch(arrays), model=attention())
        assert same(result.weights.tensors, torch(smaller(plan, arrays)))
        assert result.matched["wq"] == ["in_proj_weight"]


GATES = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}
ONNX_GATES = {"LSTM": "iofg", "GRU": "zrn", "RNN": "h"}


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("directions", [1, 2])
def test_gates_in_another_order(op, directions) -> None:
    """W, R and B of all directions against torch's weights, with gates in its own order and two biases."""
    count, both = len(GATES[op]), ', direction="bidirectional"' if directions == 2 else ""
    model = build(
        f"""(float[T,N,5] x) => (y) {{
          h = {op}<hidden_size=6{both}>(x, W, R, B)
          t = Transpose<perm=[0,2,1,3]>(h)
          s = Reshape(t, shape)
          y = MatMul(s, wy)
        }}""",
        shape=[0, 0, -1],
        wy=(6 * directions, 3),
        W=(directions, count * 6, 5),
        R=(directions, count * 6, 6),
        B=(directions, 2 * count * 6),
    )
    order = [ONNX_GATES[op].index(g) for g in GATES[op]]

    def gates(a) -> np.ndarray:
        parts = np.split(a, count)
        return np.concatenate([parts[i] for i in order])

    def torch(w) -> dict[str, np.ndarray]:
        result = {"fc.weight": w["wy"].T}
        for d, suffix in zip(range(directions), ("", "_reverse"), strict=False):
            biases = np.split(w["B"][d], 2)
            result[f"rnn.weight_ih_l0{suffix}"] = gates(w["W"][d])
            result[f"rnn.weight_hh_l0{suffix}"] = gates(w["R"][d])
            result[f"rnn.bias_ih_l0{suffix}"], result[f"rnn.bias_hh_l0{suffix}"] = map(gates, biases)
        return result

    result = assert_commutes(model, torch)
    assert len(result.matched["B"]) == 2 * directions


def test_zeros_that_fill_up_come_from_nowhere() -> None:
    """Keras has one bias for an LSTM; its converter adds zeros for the other."""
    model = build(
        """(float[T,N,5] x) => (y) {
          h = LSTM<hidden_size=6>(x, W, R, B)
          s = Squeeze(h, one)
          y = MatMul(s, wy)
        }""",
        one=[1],
        wy=(6, 3),
        W=(1, 24, 5),
        R=(1, 24, 6),
        B=np.concatenate([random((1, 24), "B"), np.zeros((1, 24), np.float32)], 1),
    )

    def keras(w) -> dict[str, np.ndarray]:
        return {"lstm/kernel": w["W"][0].T, "r": w["R"][0].T, "bias": np.split(w["B"][0], 2)[0], "dense": w["wy"]}

    assert assert_commutes(model, keras).matched["B"] == ["bias"]


def test_types_may_differ() -> None:
    """The model holds what the exporter cast; the weights keep their type."""
    model = mlp()
    plan, arrays = planned(model)
    wide = by_number({n: a.astype(np.float64) for n, a in arrays.items()}, np.transpose)
    result = spa_cli.apply_weights(plan, wide, model=model)
    wanted = {n: a.astype(np.float64) for n, a in smaller(plan, arrays).items()}
    assert same(result.weights.tensors, by_number(wanted, np.transpose))
    brain = {n: a.astype(ml_dtypes.bfloat16) for n, a in arrays.items()}
    rounded = mlp(**{n.replace(".", "__"): a.astype(np.float32) for n, a in brain.items()})
    result = spa_cli.apply_weights(plan, by_number(brain), model=rounded)
    assert same(result.weights.tensors, by_number(smaller(plan, brain)))


def test_half_precision_values_repeat() -> None:
    """Among a few thousand float16 numbers many are the same; their neighbours tell them apart."""
    shapes = {"w1": (5, 600), "b1": (600,), "w2": (600, 4)}
    text = "(float16[N,5] x) => (y) { a = MatMul(x, w1) c = Add(a, b1) y = MatMul(c, w2) }"
    model = build(text, **{n: random(s, n, np.float16) for n, s in shapes.items()})
    _, arrays = planned(model)
    assert len(np.unique(arrays["b1"])) < 600

    extra = random((300,), "x", np.float16)

    def longer(w) -> dict[str, np.ndarray]:
        return {"b": np.concatenate([extra, w["b1"]]), "w": w["w1"].T, "v": w["w2"]}

    assert assert_commutes(model, longer).matched["b1"] == ["b"]


def test_shared_weights_are_cut_under_every_key() -> None:
    """An embedding that is also the output layer, transposed in the model."""
    model = build(
        "(int64[N,T] x) => (y) { e = Gather(table, x) h = Relu(e) y = MatMul(h, out) }",
        table=random((9, 6), "t"),
        out=np.ascontiguousarray(random((9, 6), "t").T),
    )

    def torch(w) -> dict[str, np.ndarray]:
        return {"wte.weight": w["table"], "lm_head.weight": w["out"].T.copy()}

    assert assert_commutes(model, torch).matched["table"] == ["wte.weight", "lm_head.weight"]


def test_shared_weights_by_names_alone() -> None:
    plan, arrays = planned(mlp())
    twice = {**arrays, "head.weight": arrays["layer2.weight"].copy()}
    result = spa_cli.apply_weights(plan, twice)
    assert result.weights.tensors["head.weight"].shape == result.weights.tensors["layer2.weight"].shape
    assert "'head.weight' is the same as 'layer2.weight' and was cut with it" in result.warnings


def test_one_of_two_equal_initializers_is_refused() -> None:
    text = """(float[N,5] x) => (y) {
      a = MatMul(x, w1)
      b = MatMul(x, w2)
      p = MatMul(a, v1)
      q = MatMul(b, v2)
      y = Concat<axis=1>(p, q)
    }"""
    equal = random((5, 8), "w")
    model = build(text, w1=equal, w2=equal, v1=(8, 3), v2=(8, 3))
    plan, arrays = planned(model, only="w1")
    with pytest.raises(UsageError, match=r"'w2' and 'w1' of the model hold the same values \('t0'\)"):
        spa_cli.apply_weights(plan, by_number(arrays), model=model)
    # their names tell them apart
    result = spa_cli.apply_weights(plan, arrays, model=model)
    assert same(result.weights.tensors, smaller(plan, arrays))
    both, arrays = planned(model)
    with pytest.raises(UsageError, match=r"'t0' .* holds the values of 'w1' and 'w2', which the plan cuts differently"):
        spa_cli.apply_weights(both, by_number(arrays), model=model)


def test_weights_inside_bodies() -> None:
    """They are in the plan's hidden part."""
    text = """(float[N,5] x, bool flag) => (y) {
      a = MatMul(x, wa)
      c = If(flag) <
        then_branch = then () => (float[N,7] t) { t = MatMul(a, wt) },
        else_branch = other () => (float[N,7] e) { e0 = MatMul(a, we)  e = MatMul(e0, wf) }
      >
      y = Gemm(c, wy)
    }"""
    model = inside(build(text, wa=(5, 6), wt=(6, 7), we=(6, 8), wf=(8, 7), wy=(7, 4)))
    plan, _ = planned(model)
    assert set(plan.hidden) == {"wt", "we", "wf"}
    result = assert_commutes(model, lambda w: by_number(w, np.transpose))
    assert len(result.matched["wt"]) == 1


def test_what_the_plan_leaves_passes_through() -> None:
    model = mlp()
    plan, arrays = planned(model)
    more = {"steps": np.array(7), "words": np.array([1, 2, 3]), **by_number(arrays), "z": np.ones((2, 2), np.complex64)}
    result = spa_cli.apply_weights(plan, more, model=model)
    for key in ("steps", "words", "z", "t3"):
        assert result.weights.tensors[key] is more[key]
    assert set(result.shapes) == {"t0", "t1", "t2"}
