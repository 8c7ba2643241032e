import pytest

from spa_cli.analysis import analyse_model
from spa_cli.obspa.layers import find_layers
from spa_cli.obspa.pairs import find_pairs
from spa_cli.runtime.load import load
from tests.builders import build

DENSE = "(float[2,5,8] x) => (y) { a = MatMul(x, wa) %s y = MatMul(h, wy) }"
CONV = "(float[1,3,6,6] x) => (y) { a = Conv(x, wa) %s y = Conv(h, wy) }"


def pairs_of(text, **weights) -> list[tuple[str, list[str], str]]:
    analysis = analyse_model(load(build(text, **weights)), {})
    found = find_pairs(analysis.graph, find_layers(analysis.graph, analysis.state.shapes))
    return [(p.first.key, [n.op for n in p.between], p.second.key) for own in found.values() for p in own]


@pytest.mark.parametrize(
    ("between", "operators"),
    [
        ("h = Relu(a)", ["Relu"]),
        ("b = Add(a, bias) h = Tanh(b)", ["Tanh"]),
        ("h = Gelu(a)", ["Gelu"]),
        ("b = Div(a, r) c = Erf(b) d = Add(c, r) e = Mul(a, d) h = Mul(e, r)", ["Div", "Erf", "Add", "Mul", "Mul"]),
        ("s = Sigmoid(a) h = Mul(a, s)", ["Sigmoid", "Mul"]),
    ],
)
def test_an_activation_of_any_making_stands_between_a_pair(between, operators) -> None:
    found = pairs_of(DENSE % between.replace("Gelu(a)", "Elu(a)"), wa=(8, 16), wy=(16, 4), bias=(16,), r=1.5)
    assert found == [("a", [op.replace("Gelu", "Elu") for op in operators], "y")]


def test_a_norm_stands_between_too() -> None:
    text = CONV % "b = BatchNormalization(a, s, o, m, v) h = Clip(b, low, high)"
    weights = {"wa": (4, 3, 1, 1), "wy": (5, 4, 3, 3), "s": (4,), "o": (4,), "m": (4,), "v": [1.0] * 4}
    found = pairs_of(text, low=0.0, high=6.0, **{n: w if n != "v" else (4,) for n, w in weights.items()})
    assert found == [("a", ["BatchNormalization", "Clip"], "y")]


SEPARABLE = (
    "(float[1,3,6,6] x) => (y) { a = Conv(x, wa) b = Relu(a) d = Conv<group=4>(b, wd) h = Relu(d) y = Conv(h, wy) }"
)
GATED = """(float[1,3,6,6] x) => (y) {
  a = Conv(x, wa) b = Relu(a) d = Conv<group=4>(b, wd) e = Relu(d)
  p = GlobalAveragePool(e) q = Conv(p, wq) r = Relu(q) s = Conv(r, ws) g = Sigmoid(s) h = Mul(e, g) y = Conv(h, wy)
}"""
KERNELS = {"wa": (4, 3, 1, 1), "wd": (4, 1, 3, 3), "wq": (2, 4, 1, 1), "ws": (4, 2, 1, 1), "wy": (5, 4, 1, 1)}


def firsts_of(text, **weights) -> list[str]:
    """What comes before the last layer."""
    used = {n: w for n, w in weights.items() if n in text}
    return [first for first, _, second in pairs_of(text, **used) if second == "y"]


def test_a_depthwise_layer_may_stand_between_and_is_the_first_of_a_pair_itself() -> None:
    assert firsts_of(SEPARABLE, **KERNELS) == ["d", "a"]


def test_a_gate_may_stand_between_too() -> None:
    assert firsts_of(GATED, **KERNELS) == ["d", "s", "a"]
    assert ("q", ["Relu"], "s") in pairs_of(GATED, **KERNELS)


def test_both_halves_of_a_gated_layer() -> None:
    text = DENSE % "b = MatMul(x, wb) c = Sigmoid(b) h = Mul(a, c)"
    assert sorted(firsts_of(text, wa=(8, 16), wb=(8, 16), wy=(16, 4))) == ["a", "b"]


def test_what_mixes_channels_is_followed_as_well() -> None:
    assert firsts_of(DENSE % "h = Softmax(a)", wa=(8, 16), wy=(16, 4)) == ["a"]
    turned = "b = Relu(a) t = Transpose<perm=[0,2,1]>(b) u = Relu(t) h = Transpose<perm=[0,2,1]>(u)"
    assert firsts_of(DENSE % turned, wa=(8, 16), wy=(16, 4)) == ["a"]


def test_what_has_no_gradient_or_stands_behind_many_layers_is_not() -> None:
    assert firsts_of(DENSE % "h = Round(a)", wa=(8, 16), wy=(16, 4)) == []
    text = CONV % "b = Conv<group=4>(a, wd) c = Conv<group=4>(b, wd) d = Conv<group=4>(c, wd) h = Conv<group=4>(d, wd)"
    assert "a" not in firsts_of(text, wa=(4, 3, 1, 1), wd=(4, 1, 1, 1), wy=(5, 4, 3, 3))


def test_what_a_body_reads_is_read_elsewhere() -> None:
    text = """(float[2,5,8] x, bool c) => (y, z) {
      a = MatMul(x, wa) h = Relu(a) z = If(c) <then_branch = t () => (float[2,5,16] u) { u = Neg(h) },
        else_branch = e () => (float[2,5,16] v) { v = Abs(h) }> y = MatMul(h, wy)
    }"""
    assert firsts_of(text, wa=(8, 16), wy=(16, 4)) == []


def test_a_residual_sum_ends_it() -> None:
    text = "(float[2,5,8] x) => (y, z) { a = MatMul(x, wa) b = Add(a, x) h = Relu(b) y = MatMul(h, wy) z = Relu(b) }"
    assert firsts_of(text, wa=(8, 8), wy=(8, 4)) == []


def test_who_reads_only_shape_or_type_does_not_count() -> None:
    text = """(float[2,5,8] x) => (y, s, t) {
      a = MatMul(x, wa) h = Relu(a) s = Shape(h) t = CastLike(one, h) y = MatMul(h, wy)
    }"""
    assert pairs_of(text, wa=(8, 16), wy=(16, 4), one=[1]) == [("a", ["Relu"], "y")]


def test_who_else_reads_the_first_forbids_to_change_it() -> None:
    text = "(float[2,5,8] x) => (y, z) { a = MatMul(x, wa) h = Relu(a) y = MatMul(h, wy) z = MatMul(h, wz) }"
    assert pairs_of(text, wa=(8, 16), wy=(16, 4), wz=(16, 4)) == []
    text = "(float[2,5,8] x) => (y, h) { a = MatMul(x, wa) h = Relu(a) y = MatMul(h, wy) }"
    assert pairs_of(text, wa=(8, 16), wy=(16, 4)) == []
