"""Rounds: channels are ordered anew on what is left, the original's own cut follows."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.channels.ranking import Ranking
from spa_cli.trial.rounds import _continued
from tests.builders import build

RNG = np.random.default_rng(0)


def _calib(path, size: tuple[int, ...]) -> str:
    mixed = RNG.normal(size=(size[-1], size[-1])) / 2
    np.savez(path / "calib.npz", x=(RNG.normal(size=size) @ mixed).astype(np.float32))
    return str(path / "calib.npz")


def test_what_is_gone_comes_first_and_the_rest_as_it_is_ranked_again() -> None:
    before = Ranking(np.array([3, 0, 4, 1, 2]), np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    mask = np.array([False, True, True, False, True])
    # what is left are channels 1, 2, 4
    after = _continued(before, mask, Ranking(np.array([1, 2, 0]), np.array([0.5, 0.6, 9.0])))
    assert after.order.tolist() == [3, 0, 2, 4, 1]
    assert after.loss.tolist() == [0, 0, 0.5, 0.6, 9.0]


def test_blocks_go_on_by_themselves() -> None:
    before = Ranking(np.array([[2, 0, 1], [0, 1, 2]]), np.array([1.0, 2.0, 3.0]))
    mask = np.array([[True, True, False], [False, True, True]])
    after = _continued(before, mask, Ranking(np.array([[1, 0], [0, 1]]), np.array([4.0, 5.0])))
    assert after.order.tolist() == [[2, 1, 0], [0, 1, 2]]
    assert after.loss.tolist() == [0, 4.0, 5.0]


def test_a_group_that_is_not_found_again_keeps_its_order() -> None:
    before = Ranking(np.array([1, 0, 2]), np.array([1.0, 2.0, 3.0]))
    after = _continued(before, np.array([True, False, True]), None)
    assert after.order.tolist() == [1, 0, 2] and after.loss.tolist() == [0, 2.0, 3.0]


@pytest.mark.parametrize("budget", [{"target_macs": 0.5}, {"ratio": 0.4}, {"target_size": 6000}])
def test_rounds_meet_the_budget_and_remove_equals_zeroing(tmp_path, budget) -> None:
    """That is checked within ``prune``, of every round's cut."""
    model = build(
        """(float[N,8] x) => (y) {
          h = MatMul(x, wa)  r = Relu(h)
          i = MatMul(r, wb)  s = Relu(i)
          y = MatMul(s, wc)
        }""",
        wa=(8, 48),
        wb=(48, 48),
        wc=(48, 4),
    )
    calib = _calib(tmp_path, (256, 8))
    once = spa_cli.prune(model, calib=calib, round_to=1, **budget)
    again = spa_cli.prune(model, calib=calib, round_to=1, rounds=3, **budget)
    for small in (once, again):
        if "target_macs" in budget:
            assert 0.48 <= small.after.macs / small.before.macs <= 0.5
    # another order than that of one round, of as many channels, more or less
    assert abs(again.after.channels - once.after.channels) <= 6
    assert again.plan.kept != once.plan.kept
    assert again.drift.relative_l2 < 1.5 * once.drift.relative_l2


def test_rounds_by_attention_heads() -> None:
    """Blocks, whose channels each choose for themselves."""
    model = build(
        """(float[N,6,16] x) => (y) {
          q = MatMul(x, wq)  qs = Reshape(q, heads)  qt = Transpose<perm=[0,2,1,3]>(qs)
          k = MatMul(x, wk)  ks = Reshape(k, heads)  kt = Transpose<perm=[0,2,3,1]>(ks)
          v = MatMul(x, wv)  vs = Reshape(v, heads)  vt = Transpose<perm=[0,2,1,3]>(vs)
          a = MatMul(qt, kt)  p = Softmax<axis=-1>(a)  o = MatMul(p, vt)
          ot = Transpose<perm=[0,2,1,3]>(o)  m = Reshape(ot, flat)  y = MatMul(m, wo)
        }""",
        wq=(16, 16),
        wk=(16, 16),
        wv=(16, 16),
        wo=(16, 16),
        heads=np.array([0, 6, 4, 4], np.int64),
        flat=np.array([0, 6, 16], np.int64),
    )
    small = spa_cli.prune(model, ratio=0.4, rounds=2, calib_samples=64)
    assert small.after.channels < small.before.channels


def test_rounds_are_counted_from_one() -> None:
    model = build("(float[N,6] x) => (y) { h = MatMul(x, wa)  y = MatMul(h, wb) }", wa=(6, 8), wb=(8, 3))
    with pytest.raises(spa_cli.errors.UsageError, match="rounds has to be at least 1, not 0"):
        spa_cli.prune(model, ratio=0.3, rounds=0)


def test_rounds_need_one_budget(tmp_path) -> None:
    model = build("(float[N,6] x) => (y) { h = MatMul(x, wa)  y = MatMul(h, wb) }", wa=(6, 8), wb=(8, 3))
    said = "rounds goes part of the way to one budget of size or speed"
    with pytest.raises(spa_cli.errors.UsageError, match=said):
        spa_cli.prune(model, max_drift=0.2, rounds=2)
    with pytest.raises(spa_cli.errors.UsageError, match=said):
        spa_cli.sweep(model, tmp_path / "sweep", rounds=2)
    with pytest.raises(spa_cli.errors.UsageError, match="a sweep tries the budgets of points; leave out min_agreement"):
        spa_cli.sweep(model, tmp_path / "sweep", min_agreement=0.9)


def test_rounds_find_weights_in_files_of_their_own(tmp_path) -> None:
    model = build("(float[N,8] x) => (y) { h = MatMul(x, wa)  r = Relu(h)  y = MatMul(r, wb) }", wa=(8, 48), wb=(48, 4))
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, size_threshold=0)
    small = spa_cli.prune(tmp_path / "model.onnx", tmp_path / "small.onnx", target_macs=0.5, rounds=2, calib_samples=64)
    assert small.after.macs <= 0.5 * small.before.macs
