"""The repair on whole models, layer by layer of every kind: nearer than slicing, and nothing left out unsaid."""

import itertools

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

import spa_cli
from tests.builders import as_constant_nodes, build, positive
from tests.obspa.test_walk import network


def smooth(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Correlated inputs, without which there is nothing to repair."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(shape[-1], shape[-1]))
    return (rng.normal(size=shape) @ mix / np.sqrt(shape[-1])).astype(np.float32)


MODELS = {
    "conv 1d": (
        "(float[N,8,20] x) => (y) { a = Conv(x, wa)  b = Relu(a)  y = Conv(b, wb) }",
        {"wa": (24, 8, 3), "wb": (4, 24, 3)},
    ),
    "conv 3d": (
        "(float[N,2,5,5,6] x) => (y) { a = Conv(x, wa, ba)  b = Relu(a)  y = Conv(b, wb, bb) }",
        {"wa": (16, 2, 2, 2, 2), "ba": (16,), "wb": (4, 16, 2, 2, 2), "bb": (4,)},
    ),
    "grouped conv": (
        """(float[N,8,12] x) => (y) {
          a = Conv(x, wa)  b = Relu(a)  c = Conv<group=2>(b, wb, bb)  d = Relu(c)  y = Conv(d, wc) }""",
        {"wa": (24, 8, 1), "wb": (24, 12, 3), "bb": (24,), "wc": (4, 24, 1)},
    ),
    "transposed conv": (
        "(float[N,8,12] x) => (y) { a = Conv(x, wa)  b = Relu(a)  y = ConvTranspose<strides=[2]>(b, wb) }",
        {"wa": (24, 8, 1), "wb": (24, 4, 3)},
    ),
    "transposed conv and batch norm": (
        """(float[N,8,12] x) => (y) {
          a = Conv(x, wa)  b = Relu(a)  t = ConvTranspose<strides=[2]>(b, wb, bb)
          y = BatchNormalization(t, s, o, m, v) }""",
        {"wa": (24, 8, 1), "wb": (24, 4, 3), "bb": (4,), "s": positive(4), "o": (4,), "m": (4,), "v": positive(4)},
    ),
    "grouped transposed conv and batch norm": (
        """(float[N,8,12] x) => (y) {
          a = Conv(x, wa)  b = Relu(a)  t = ConvTranspose<group=2, strides=[2]>(b, wb)
          y = BatchNormalization(t, s, o, m, v) }""",
        {"wa": (24, 8, 1), "wb": (24, 2, 3), "s": positive(4), "o": (4,), "m": (4,), "v": positive(4)},
    ),
    "linear on the left": (
        "(float[N,8,10] x) => (y) { a = MatMul(wa, x)  b = Relu(a)  y = MatMul(wb, b) }",
        {"wa": (32, 8), "wb": (5, 32)},
    ),
    "gemm with factors": (
        "(float[N,10] x) => (y) { a = Gemm(x, wa, ba)  b = Relu(a)  "
        "y = Gemm<alpha=0.5, beta=2.0, transB=1>(b, wb, bb) }",
        {"wa": (10, 32), "ba": (32,), "wb": (4, 32), "bb": (4,)},
    ),
    "batched": (
        "(float[N,2,6,8] x) => (y) { a = MatMul(x, wa)  b = Relu(a)  y = MatMul(b, wb) }",
        {"wa": (2, 8, 24), "wb": (2, 24, 4)},
    ),
    "einsum": (
        """(float[N,6,8] x) => (y) {
          a = Einsum<equation="btd,dk->btk">(x, wa)  b = Relu(a)  y = Einsum<equation="btk,ko->bto">(b, wb) }""",
        {"wa": (8, 32), "wb": (32, 4)},
    ),
    "behind a transpose": (
        """(float[N,10] x) => (y) {
          ta = Transpose<perm=[1,0]>(wa)  a = MatMul(x, ta)  b = Relu(a)  tb = Transpose<perm=[1,0]>(wb)
          y = MatMul(b, tb) }""",
        {"wa": (32, 10), "wb": (4, 32)},
    ),
    "scaled weights": (
        """(float[N,10] x) => (y) {
          sa = Mul(wa, ga)  a = MatMul(x, sa)  b = Relu(a)  tb = Transpose<perm=[1,0]>(wb)  sb = Div(tb, gb)
          y = MatMul(b, sb) }""",
        {"wa": (10, 32), "ga": positive(32), "wb": (4, 32), "gb": positive(4)},
    ),
    "weight normalisation": (
        """(float[N,10] x) => (y) {
          a = Gemm(x, wa, ba)  b = Relu(a)  n = ReduceL2<keepdims=1>(wb, along)  d = Div(wb, n)  s = Mul(g, d)
          y = Gemm<transB=1>(b, s, bb) }""",
        {"wa": (10, 32), "ba": (32,), "wb": (4, 32), "along": [1], "g": positive(4, 1), "bb": (4,)},
    ),
    "batch norm and clip": (
        """(float[N,4,6,6] x) => (y) {
          a = Conv(x, wa)  n = BatchNormalization(a, s, o, m, v)  b = Clip(n, low, high)
          c = Conv(b, wb)  k = BatchNormalization(c, s2, o2, m2, v2)  y = Relu(k) }""",
        {
            "wa": (24, 4, 3, 3),
            "wb": (6, 24, 3, 3),
            "s": positive(24),
            "o": (24,),
            "m": (24,),
            "v": positive(24),
            "low": 0.0,
            "high": 1.0,
            "s2": positive(6),
            "o2": (6,),
            "m2": (6,),
            "v2": positive(6),
        },
    ),
}


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


def distance(model: onnx.ModelProto, pruned: onnx.ModelProto, x: np.ndarray) -> float:
    right = run(model, x)
    return float(np.linalg.norm(run(pruned, x) - right) / np.linalg.norm(right))


def shape_of(model: onnx.ModelProto, count: int) -> tuple[int, ...]:
    return (count, *(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("constants", [False, True], ids=["initializers", "constants"])
def test_every_kind_of_layer_is_repaired(kind, constants, tmp_path) -> None:
    text, weights = MODELS[kind]
    model = build(text, **weights)
    model = as_constant_nodes(model) if constants else model
    np.save(tmp_path / "calib.npy", smooth(shape_of(model, 256), 1))
    unseen = smooth(shape_of(model, 64), 2)
    repaired = spa_cli.prune(model, ratio=0.3, calib=tmp_path / "calib.npy")
    about = repaired.plan.about["repair"]
    assert about["refitted"] >= 1
    assert about["kept_sliced"] == {}
    # the same cut, not repaired
    sliced = spa_cli.apply(repaired.plan, model).model
    assert distance(model, repaired.model, unseen) < 0.8 * distance(model, sliced, unseen)


def test_quantised_weights_are_repaired_and_stay_quantised(tmp_path) -> None:
    rng = np.random.default_rng(3)
    model = build(
        """(float[N,10] x) => (y) {
          fa = DequantizeLinear(wa, sa)  a = MatMul(x, fa)  b = Relu(a)
          fb = DequantizeLinear<axis=1>(wb, sb, zb)  c = MatMul(b, fb)  y = Add(c, bias) }""",
        wa=rng.integers(-60, 60, (10, 32)).astype(np.int8),
        sa=0.01,
        wb=rng.integers(-60, 60, (32, 4)).astype(np.int8),
        sb=np.array([0.01, 0.02, 0.01, 0.02], np.float32),
        zb=np.zeros(4, np.int8),
        bias=(4,),
    )
    np.save(tmp_path / "calib.npy", smooth((256, 10), 1))
    repaired = spa_cli.prune(model, ratio=0.3, calib=tmp_path / "calib.npy")
    assert repaired.plan.about["repair"]["refitted"] == 2
    stored = {t.name: numpy_helper.to_array(t) for t in repaired.model.graph.initializer}
    assert stored["wb"].dtype == np.int8
    sliced = spa_cli.apply(repaired.plan, model).model
    unseen = smooth((64, 10), 2)
    assert distance(model, repaired.model, unseen) < 0.8 * distance(model, sliced, unseen)


def test_dynamically_quantised_layers_are_repaired(tmp_path) -> None:
    rng = np.random.default_rng(4)
    layer = """ {x}q, {x}s, {x}z = DynamicQuantizeLinear({x})  {x}i = MatMulInteger({x}q, w{x}, {x}z)
      {x}f = Cast<to=1>({x}i)  {x}t = Mul({x}s, s{x})  {x}y = Mul({x}f, {x}t) """
    model = build(
        "(float[N,10] x) => (y) {" + layer.format(x="x") + "b = Relu(xy)" + layer.format(x="b") + "y = Add(by, bias) }",
        wx=rng.integers(-60, 60, (10, 32)).astype(np.int8),
        sx=0.01,
        wb=rng.integers(-60, 60, (32, 4)).astype(np.int8),
        sb=0.01,
        bias=(4,),
    )
    np.save(tmp_path / "calib.npy", smooth((256, 10), 1))
    repaired = spa_cli.prune(model, ratio=0.3, calib=tmp_path / "calib.npy")
    assert repaired.plan.about["repair"]["refitted"] == 1
    sliced = spa_cli.apply(repaired.plan, model).model
    unseen = smooth((64, 10), 2)
    assert distance(model, repaired.model, unseen) < 0.8 * distance(model, sliced, unseen)


@pytest.mark.parametrize("norm", ["LayerNormalization(s, g, h)", "BatchNormalization(s, g, h, m, v)"])
def test_norms_that_no_layer_takes_up_are_recalibrated(norm, tmp_path) -> None:
    """Channels of the sum under the norm go (LayerNorm), or those of a layer before it (BatchNorm behind a sum)."""
    model = build(
        "(float[N,12] x) => (y) { a = MatMul(x, wa)  b = Relu(a)  c = MatMul(b, wb)  s = Add(c, x)  n = "
        + norm
        + "  d = Relu(n)  y = MatMul(d, wy) }",
        wa=(12, 24),
        wb=(24, 12),
        wy=(12, 4),
        g=positive(12),
        h=(12,),
        m=(12,),
        v=positive(12),
    )
    np.save(tmp_path / "calib.npy", smooth((256, 12), 1))
    repaired = spa_cli.prune(model, ratio=0.3, calib=tmp_path / "calib.npy")
    assert repaired.plan.about["repair"]["recalibrated"] >= 1
    sliced = spa_cli.apply(repaired.plan, model).model
    unseen = smooth((64, 12), 2)
    assert distance(model, repaired.model, unseen) < 0.8 * distance(model, sliced, unseen)


@pytest.mark.parametrize("constants", [False, True], ids=["initializers", "constants"])
def test_a_repair_that_does_not_help_leaves_every_weight_as_it_was_cut(constants, monkeypatch) -> None:
    errors = itertools.cycle([1.0, 2.0])
    monkeypatch.setattr("spa_cli.obspa.curvature.Curvature._error", lambda self, work: next(errors))
    model = as_constant_nodes(network()) if constants else network()
    dropped = spa_cli.prune(model, ratio=0.3)
    assert any("the repair was dropped" in w for w in dropped.warnings)
    x = smooth((32, 16), 1)
    assert np.array_equal(run(dropped.model, x), run(spa_cli.apply(dropped.plan, model).model, x))


def test_a_bias_of_higher_rank_than_the_layer_is_left_alone() -> None:
    text = "(float[N,16] x) => (y) { a = MatMul(x, wa)  b = Relu(a)  c = MatMul(b, wb)  y = Add(c, h) }"
    model = build(text, wa=(16, 40), wb=(40, 4), h=(1, 1, 4))
    kept = spa_cli.prune(model, ratio=0.3).plan.about["repair"]["kept_sliced"]
    assert kept == {"MatMul_c": "its output can't be aligned with the original's"}


def test_what_is_kept_sliced_is_said_with_its_reason(tmp_path) -> None:
    model = build(
        """(float[N,10] x) => (y) {
          a = MatMul(x, w)  b = Relu(a)  c = MatMul(b, v)  i = Add(c, x)
          d = MatMul(i, w)  e = Relu(d)  f = MatMul(e, v)  y = Add(f, i) }""",
        w=(10, 24),
        v=(24, 10),
    )
    np.savez(tmp_path / "calib.npz", x=smooth((64, 10), 1))
    about = spa_cli.prune(model, ratio=0.3, calib=tmp_path / "calib.npz").plan.about["repair"]
    why = "its weight is shared by layers that read one another"
    assert about["kept_sliced"] == {"MatMul_c": why, "MatMul_d": why, "MatMul_f": why}
    assert about["refitted"] == 0


def test_layers_too_wide_for_a_hessian_only_get_new_offsets(monkeypatch, tmp_path) -> None:
    for module in ("collect", "curvature", "repair_layer"):
        monkeypatch.setattr(f"spa_cli.obspa.{module}.widest", lambda: 16)
    model = network("(float[N,16] x) => (y) { a = MatMul(x, wa)  b = Relu(a)  c = MatMul(b, wc)  y = Add(c, h) }")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(32, np.float32), "h"))
    np.save(tmp_path / "calib.npy", smooth((128, 16), 1))
    result = spa_cli.prune(model, ratio=0.3, calib=tmp_path / "calib.npy")
    about = result.plan.about["repair"]
    assert (about["refitted"], about["recalibrated"]) == (0, 1)
    (warning,) = (w for w in result.warnings if "inputs" in w)
    assert warning.startswith("1 layer of more than 16 inputs (the first is 'MatMul_c') would take more memory than")


@pytest.mark.parametrize("target", ["ratio", "target_macs", "target_params"])
def test_every_budget_is_met_within_two_percent(target) -> None:
    result = spa_cli.prune(network(), **{target: 0.6})
    reached = {
        "ratio": 1 - result.after.channels / result.before.channels,
        "target_macs": result.after.macs / result.before.macs,
        "target_params": result.after.params / result.before.params,
    }[target]
    assert abs(reached - 0.6) <= 0.02
