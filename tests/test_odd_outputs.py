"""Models whose outputs have sizes that the data decide."""

import numpy as np
import pytest

import spa_cli
from spa_cli.errors import ModelError
from spa_cli.runtime.session import run
from tests.builders import build, doubts, groups
from tests.equivalence import assert_removing_is_zeroing

DETECTOR = build(
    """(float[1,3,6,6] x) => (int64[K,3] chosen, float[K] scores) {
      a = Conv(x, wa)
      r = Relu(a)
      b = Conv(r, wb)
      c = Conv(r, wc)
      p = Sigmoid(c)
      boxes0 = Reshape(b, four)
      boxes = Transpose<perm=[0,2,1]>(boxes0)
      marks = Reshape(p, flat)
      chosen = NonMaxSuppression(boxes, marks, most, overlap, least)
      at = Gather<axis=1>(chosen, picks)
      scores = GatherND(marks, at)
    }""",
    wa=(16, 3, 1, 1),
    wb=(4, 16, 1, 1),
    wc=(1, 16, 1, 1),
    four=[1, 4, 36],
    flat=[1, 1, 36],
    most=[20],
    overlap=np.array([0.5], np.float32),
    least=np.array([0.5], np.float32),
    picks=[0, 1, 2],
)


@pytest.mark.parametrize("method", ["l1", "obspa"])
def test_how_many_boxes_there_are_may_change(method) -> None:
    result = spa_cli.prune(DETECTOR, ratio=0.5, method=method, calib_samples=16)
    assert not any("left whole" in w for w in result.warnings)
    assert result.after.channels == 8
    assert assert_removing_is_zeroing(DETECTOR) > 0


def test_sizes_that_shapes_decide_may_not_change(monkeypatch) -> None:
    """A cut that gives another size is refused, with the reason."""
    model = build("(float[N,5] x) => (y) { a = Gemm(x, wa)  y = Gemm(a, wy) }", wa=(5, 6), wy=(6, 4))

    def shortened(session, feeds):
        return [o[..., :-1] for o in run(session, feeds)]

    monkeypatch.setattr("spa_cli.verification.check.run", shortened)
    with pytest.raises(
        ModelError, match=r"no cut of its groups survived verification \('wa': output 'y' of the result"
    ):
        spa_cli.prune(model, ratio=0.5, method="l1")


def test_experts_that_write_back_what_they_were_given() -> None:
    """Rows chosen by a mask, changed, added back where they came from (index_add)."""
    model = build(
        """(float[6,5] x, bool[6] mask) => (float[6,3] y) {
          h = Gemm(x, wa)
          found = NonZero(mask)
          rows = Squeeze(found, zero)
          some = Gather<axis=0>(h, rows)
          e = MatMul(some, we)
          u = Unsqueeze(rows, one)
          size = Shape(e)
          places = Expand(u, size)
          back = ScatterElements<axis=0, reduction="add">(h, places, e)
          y = MatMul(back, wy)
        }""",
        zero=[0],
        one=[1],
        wa=(5, 12),
        we=(12, 12),
        wy=(12, 3),
    )
    assert groups(model) == ["12: wa:1 we:0 we:1 wy:0"]
    assert assert_removing_is_zeroing(model) > 0


def test_a_fused_convolution_with_a_residual() -> None:
    model = build(
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, wa)
          b = Conv(a, wb)
          c = com.microsoft.FusedConv<activation="Relu">(b, wc, bc, a)
          y = Conv(c, wy)
        }""",
        domains={"com.microsoft": 1},
        wa=(6, 3, 1, 1),
        wb=(8, 6, 1, 1),
        wc=(6, 8, 1, 1),
        bc=(6,),
        wy=(2, 6, 1, 1),
    )
    assert groups(model) == ["6: bc:0 wa:0 wb:1 wc:0 wy:1", "8: wb:0 wc:1"]
    assert assert_removing_is_zeroing(model) > 0


def test_attention_on_integers_keeps_one_width() -> None:
    rng = np.random.default_rng(0)
    model = build(
        """(float[2,5,6] x) => (float[2,5,4] y) {
          q, s, z = DynamicQuantizeLinear(x)
          a = com.microsoft.QAttention<num_heads=2>(q, w, b, s, ws, , z, wz)
          y = MatMul(a, wo)
        }""",
        domains={"com.microsoft": 1},
        w=rng.integers(-99, 99, (6, 24)).astype(np.int8),
        b=(24,),
        ws=np.array(0.02, np.float32),
        wz=np.zeros((), np.int8),
        wo=(8, 4),
    )
    assert groups(model) == ["2: b:0*12 w:1*12 wo:0*4", "2x4: b:0*6 w:1*6 wo:0*2"]
    result = spa_cli.prune(model, ratio=0.5, method="l1")
    assert not doubts(result)
