"""What is joined and taken apart again ties nothing."""

import numpy as np
import pytest

from tests.builders import build, case, groups
from tests.equivalence import assert_groups, assert_removing_is_zeroing

CASES = [
    case(
        "stacked states of which the last is read",
        """(float[N,5] x) => (y) {
          a = MatMul(x, wa)
          b = MatMul(a, wb)
          ua = Unsqueeze(a, zero)
          ub = Unsqueeze(b, zero)
          s = Concat<axis=0>(ua, ub)
          l = Gather<axis=0>(s, last)
          y = MatMul(l, wy)
        }""",
        ["6: wa:1 wb:0", "6: wb:1 wy:0"],
        wa=(5, 6),
        wb=(6, 6),
        wy=(6, 3),
        zero=[0],
        last=np.array(-1),
    ),
    case(
        "stacked states, each sliced back, one index shared",
        """(float[N,5] x) => (y) {
          a = MatMul(x, wa)
          b = MatMul(x, wb)
          ua = Unsqueeze(a, zero)
          ub = Unsqueeze(b, zero)
          s = Concat<axis=0>(ua, ub)
          pa = Slice(s, zero, one, zero)
          pb = Slice(s, one, two, zero)
          ya = MatMul(pa, va)
          yb = MatMul(pb, vb)
          y = Add(ya, yb)
        }""",
        ["6: va:0 wa:1", "6: vb:0 wb:1"],
        wa=(5, 6),
        wb=(5, 6),
        va=(6, 3),
        vb=(6, 3),
        zero=[0],
        one=[1],
        two=[2],
    ),
    case(
        "joined along the channels themselves, taken apart again",
        """(float[N,5] x) => (y) {
          a = MatMul(x, wa)
          b = MatMul(x, wb)
          s = Concat<axis=1>(a, b)
          pa = Slice(s, zero, four, one)
          pb = Gather<axis=1>(s, rest)
          ya = MatMul(pa, va)
          yb = MatMul(pb, vb)
          y = Add(ya, yb)
        }""",
        ["4: va:0 wa:1", "6: vb:0 wb:1"],
        wa=(5, 4),
        wb=(5, 6),
        va=(4, 3),
        vb=(6, 3),
        zero=[0],
        one=[1],
        four=[4],
        rest=[4, 5, 6, 7, 9, 8],
    ),
    case(
        "attributes instead of inputs",
        """(float[N,5] x) => (y) {
          a = MatMul(x, wa)
          b = MatMul(x, wb)
          s = Concat<axis=1>(a, b)
          pa = Slice<axes=[1], starts=[0], ends=[4]>(s)
          pb = Slice<axes=[1], starts=[-6], ends=[9223372036854775807]>(s)
          ya = MatMul(pa, va)
          yb = MatMul(pb, vb)
          y = Add(ya, yb)
        }""",
        ["4: va:0 wa:1", "6: vb:0 wb:1"],
        opset=9,
        wa=(5, 4),
        wb=(5, 6),
        va=(4, 3),
        vb=(6, 3),
    ),
    case(
        "one reader that takes of both couples them",
        """(float[N,5] x) => (y) {
          a = MatMul(x, wa)
          b = MatMul(x, wb)
          ua = Unsqueeze(a, zero)
          ub = Unsqueeze(b, zero)
          s = Concat<axis=0>(ua, ub)
          l = Gather<axis=0>(s, both)
          y = MatMul(l, wy)
        }""",
        ["6: wa:1 wb:1 wy:0"],
        wa=(5, 6),
        wb=(5, 6),
        wy=(6, 3),
        zero=[0],
        both=[1, 0],
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_bundles(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def test_parts_whose_place_depends_on_the_batch_are_no_parts() -> None:
    """At one sample the slice is the first part; at more it is not."""
    model = build(
        """(float[N,5] x) => (float[1,3] y) {
          a = MatMul(x, wa)
          b = MatMul(x, wb)
          s = Concat<axis=0>(b, a)
          l = Slice(s, one, two, zero)
          y = MatMul(l, wy)
        }""",
        wa=(5, 6),
        wb=(5, 6),
        wy=(6, 3),
        zero=[0],
        one=[1],
        two=[2],
    )
    assert groups(model) == ["6: wa:1 wb:1 wy:0"]
    assert assert_removing_is_zeroing(model)
