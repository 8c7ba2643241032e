import numpy as np
import pytest

from spa_cli.obspa.region import Region
from spa_cli.obspa.unfit import Unfit
from spa_cli.runtime.interpreter import Interpreter
from tests.builders import build

DEPTHWISE = """(float[N,4,7,7] z) => (y) {
  a = Tanh(z)  b = Conv<pads=[1,1,1,1], strides=[2,2], group=4>(a, wb, bb)  c = Elu(b)  y = Conv(c, wy, by)
}"""
GATED = """(float[N,4,6,6] z) => (y) {
  p = GlobalAveragePool(z)  q = Conv(p, wq)  g = Sigmoid(q)  h = Mul(z, g)  y = Conv(h, wy, by)
}"""
BESIDE = "(float[N,5,4] z, float[N,5,4] beside) => (y) { s = Sigmoid(beside)  h = Mul(z, s)  y = MatMul(h, wm) }"
WEIGHTS = {"wb": (4, 1, 3, 3), "bb": (4,), "wy": (6, 4, 1, 1), "by": (6,), "wq": (4, 4, 1, 1), "wm": (4, 3)}


def region_of(text, given) -> Region:
    model = build(text, **{n: w for n, w in WEIGHTS.items() if n in text})
    return Region(Interpreter(model, "", [given]), [*model.graph.node], "z", "y", given)


def _given(text) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    shape = (3, 5, 4) if "MatMul" in text else (3, 4, 7, 7) if "strides" in text else (3, 4, 6, 6)
    names = ["z", "beside"] if "beside" in text else ["z"]
    return {name: rng.normal(size=shape).astype(np.float32) for name in names}


@pytest.mark.parametrize("text", [DEPTHWISE, GATED, BESIDE], ids=["depthwise", "gated", "beside"])
def test_a_push_is_a_small_step_and_a_pull_its_transpose(text) -> None:
    given, rng = _given(text), np.random.default_rng(4)
    region = region_of(text, given)
    y = region(given)
    change = 50 * rng.normal(size=given["z"].shape).astype(np.float32)
    pushed = region.pushed(given, change)
    assert pushed.shape == y.shape
    # its size does not matter, only its direction
    np.testing.assert_allclose(region.pushed(given, change / 1000), pushed / 1000, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(region.moved(given, change / 1e4) - y, pushed / 1e4, rtol=0.05, atol=2e-4)
    felt = rng.normal(size=y.shape).astype(np.float32)
    assert np.vdot(pushed, felt) == pytest.approx(np.vdot(change, region.pulled(given, felt)), rel=1e-2)


def test_other_numbers_of_samples_are_taken() -> None:
    given = _given(DEPTHWISE)
    region = region_of(DEPTHWISE, given)
    alone = {"z": given["z"][:1]}
    np.testing.assert_allclose(region(alone), region(given)[:1], rtol=1e-5, atol=1e-6)
    assert region.pulled(alone, region(alone)).shape == alone["z"].shape


def test_without_a_gradient_or_where_it_does_not_run_it_says_so() -> None:
    given = _given(BESIDE)
    rounded = region_of(BESIDE.replace("Mul(z, s)", "Round(z)").replace("s = Sigmoid(beside)", ""), given)
    with pytest.raises(Unfit, match="no output depends on it"):
        rounded.pulled(given, rounded(given))
    with pytest.raises(Unfit, match="Mul"):
        region_of(BESIDE, given)(given | {"beside": given["beside"][:, :2]})
