"""OBSPA on graphs whose shapes are not what a first look suggests."""

import numpy as np
import pytest

import spa_cli
from tests.builders import build, doubts, groups
from tests.equivalence import assert_removing_is_zeroing

ROUTED = """(float[N,6] x) => (y) {
  h = Gemm(x, wa)
  first = Slice(h, zero, one, one)
  chosen = Greater(first, half)
  flag = Squeeze(chosen, one)
  found = NonZero(flag)
  rows = Squeeze(found, zero)
  some = Gather<axis=0>(h, rows)
  a = MatMul(some, wb)
  b = Relu(a)
  c = MatMul(b, wc)
  y = ReduceSum<keepdims=0>(c, zero)
}"""

CAPSULES = """(float[N,4,5] x) => (y) {
  t = MatMul(x, wx)
  u = Unsqueeze(t, two)
  v = Unsqueeze(u, four)
  w = MatMul(wc, v)
  s = Squeeze(w, four)
  r = Relu(s)
  y = MatMul(r, wy)
}"""

CASES = {
    "rows chosen by data: lists of another length in every chunk": build(
        ROUTED, zero=[0], one=[1], half=0.1, wa=(6, 8), wb=(8, 16), wc=(16, 4)
    ),
    "an input broadcast against its weights": build(
        CAPSULES, two=[2], four=[4], wx=(5, 6), wc=(1, 4, 3, 8, 6), wy=(8, 2)
    ),
    "a branch of another rank": build(
        """(float[1,3,6] x) => (y) {
          a = MatMul(x, wa)
          b = Relu(a)
          c = MatMul(b, wb)
          p = Gemm(z, wz)
          s = Add(c, p)
          y = MatMul(s, wy)
        }""".replace("(float[1,3,6] x)", "(float[1,3,6] x, float[3,4] z)"),
        wa=(6, 16),
        wb=(16, 8),
        wz=(4, 8),
        wy=(8, 2),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_repair_copes(name) -> None:
    result = spa_cli.prune(CASES[name], ratio=0.3, calib_samples=32)
    assert not doubts(result)
    assert result.after.params < result.before.params
    assert assert_removing_is_zeroing(CASES[name]) > 0


def test_shapes_that_do_not_run_are_not_used_for_samples() -> None:
    """A cache as long as images are wide has more positions than the table."""
    model = build(
        """(int64[N,1] ids, float[N,2,P,3] past) => (y, float[N,2,P,3] present) {
          size = Shape(past)
          length = Gather(size, two)
          at = Unsqueeze(length, zero)
          place = Gather<axis=0>(table, at)
          word = Gather<axis=0>(words, ids)
          h = Add(word, place)
          a = MatMul(h, wa)
          b = Relu(a)
          y = MatMul(b, wb)
          present = Identity(past)
        }""",
        two=2,
        zero=[0],
        table=(64, 8),
        words=(20, 8),
        wa=(8, 24),
        wb=(24, 4),
    )
    result = spa_cli.prune(model, ratio=0.3, calib_samples=16)
    assert result.analysis.input_shapes["past"][2] < 64
    assert result.plan.about["repair"]["refitted"] >= 1


def test_blocks_that_are_multiplied_with_each_other_keep_the_same_channels() -> None:
    """The dot products between all pairs of features of a recommender."""
    model = build(
        """(float[N,5] x) => (y) {
          a = Gemm(x, wa)
          r = Reshape(a, features)
          t = Transpose<perm=[0,2,1]>(r)
          d = MatMul(r, t)
          f = Reshape(d, flat)
          y = MatMul(f, wy)
        }""",
        wa=(5, 12),
        features=[0, 3, 4],
        flat=[0, 9],
        wy=(9, 2),
    )
    assert "4: wa:1*3" in groups(model)
    assert assert_removing_is_zeroing(model) > 0


def test_a_repair_that_fails_leaves_the_cut_and_says_so(monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("axes don't match")

    monkeypatch.setattr("spa_cli.obspa.curvature.walk", broken)
    model = CASES["a branch of another rank"]
    result = spa_cli.prune(model, ratio=0.3, calib_samples=16)
    assert doubts(result) == ["the repair was dropped: it failed (ValueError: axes don't match); please report this"]
    about = result.plan.about["repair"]
    assert set(about["kept_sliced"].values()) == {"the repair was dropped"}
    assert (about["refitted"], len(about["kept_sliced"])) == (0, about["layers"])

    sliced = spa_cli.apply(result.plan, model).model
    assert [t.SerializeToString() for t in result.model.graph.initializer] == [
        t.SerializeToString() for t in sliced.graph.initializer
    ]


def test_a_repair_without_the_memory_says_so(monkeypatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr("spa_cli.obspa.curvature.walk", fails)
    (said,) = doubts(spa_cli.prune(CASES["a branch of another rank"], ratio=0.3, calib_samples=16))
    assert said == (
        "the repair was dropped: there is not enough memory (std::bad_alloc); give memory less, or run it where "
        "there is more"
    )


def test_a_convolution_of_unknown_channels_is_repaired(tmp_path) -> None:
    model = build(
        """(float[1,3,9] x, int64[1] n) => (y) {
          s = Slice(x, zero, n, two)  a = Conv(s, wa)  h = Relu(a)  y = Conv(h, wy)
        }""",
        zero=[0],
        two=[2],
        wa=(8, 3, 1),
        wy=(4, 8, 1),
    )
    x = np.random.default_rng(1).normal(size=(40, 3, 9)).astype(np.float32)
    np.savez(tmp_path / "calib.npz", x=x, n=np.tile([7, 9], 20))
    small = spa_cli.prune(model, ratio=0.3, calib=tmp_path / "calib.npz", input_shape={"n": (1,)})
    assert small.after.channels < small.before.channels
    assert not [w for w in small.warnings if "failed" in w]
