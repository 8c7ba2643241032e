"""Lists of tensors, as scripted PyTorch writes split, chunk, stack and cat."""

import pytest

import spa_cli
from tests.builders import build, case, frozen, groups
from tests.equivalence import assert_groups

HALVES = """(float[N,3,6,6] x) => (y) {{
  a = Conv(x, wa)
  l = SplitToSequence<axis=1>(a, parts)
  p = SequenceAt(l, zero)
  q = SequenceAt(l, {second})
  b = Conv(p, wb)
  m = SequenceConstruct(b, q)
  c = ConcatFromSequence<axis=1>(m)
  y = Conv(c, wy)
}}"""
WEIGHTS = {"zero": 0, "one": 1, "last": -1, "wa": (8, 3, 1, 1), "wb": (5, 4, 1, 1), "wy": (2, 9, 1, 1)}
PARTS = ["4: wa:0 wb:1", "4: wa:0 wy:1", "5: wb:0 wy:1"]


@pytest.mark.parametrize(
    ("model", "expected", "reasons"),
    [
        case("cut in two, one half changed, joined", HALVES.format(second="one"), PARTS, parts=[4, 4], **WEIGHTS),
        case("one size for all parts", HALVES.format(second="last"), PARTS, parts=4, **WEIGHTS),
        case(
            "parts of unequal size from one size",
            HALVES.format(second="one"),
            ["3: wa:0 wy:1", "5: wa:0 wb:1", "5: wb:0 wy:1"],
            parts=5,
            **{**WEIGHTS, "wb": (5, 5, 1, 1), "wy": (2, 8, 1, 1)},
        ),
        case(
            "a loop unrolled: a list that grows, stacked along a new axis",
            """(float[N,5] x) => (y) {
              l0 = SequenceEmpty<dtype=1>()
              a = Gemm(x, wa)
              l1 = SequenceInsert(l0, a)
              b = Gemm(a, wb)
              l2 = SequenceInsert(l1, b)
              s = ConcatFromSequence<axis=1, new_axis=1>(l2)
              y = MatMul(s, wy)
            }""",
            ["6: wa:1 wb:0 wb:1 wy:0"],
            wa=(5, 6),
            wb=(6, 6),
            wy=(6, 3),
        ),
        case(
            "inserted at the front, erased, measured",
            """(float[N,5] x) => (y, int64 n) {
              a = Gemm(x, wa)
              b = Gemm(x, wb)
              l = SequenceConstruct(a, a)
              l2 = SequenceInsert(l, b, zero)
              l3 = SequenceErase(l2, one)
              n = SequenceLength(l3)
              c = ConcatFromSequence<axis=1>(l3)
              y = MatMul(c, wy)
            }""",
            ["6: wa:1 wy:0", "7: wb:1 wy:0"],
            zero=0,
            one=1,
            wa=(5, 6),
            wb=(5, 7),
            wy=(13, 3),
        ),
        case(
            "parts of one, squeezed: unbind keeps its axis and lets the others go",
            """(float[N,3,5] x) => (y) {
              a = MatMul(x, wa)
              l = SplitToSequence<axis=1, keepdims=0>(a)
              p = SequenceAt(l, zero)
              q = SequenceAt(l, one)
              s = Add(p, q)
              y = MatMul(s, wy)
            }""",
            ["6: wa:1 wy:0"],
            zero=0,
            one=1,
            wa=(5, 6),
            wy=(6, 3),
        ),
    ],
)
def test_groups(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def test_a_position_that_depends_on_the_data_keeps_every_part() -> None:
    model = build(
        """(float[N,5] x, int64 i) => (y) {
          a = Gemm(x, wa)
          b = Gemm(x, wb)
          l = SequenceConstruct(a, b)
          c = SequenceAt(l, i)
          y = MatMul(c, wy)
        }""",
        wa=(5, 6),
        wb=(5, 6),
        wy=(6, 3),
    )
    assert groups(model) == []
    assert frozen(model)["wb:1"] == "the position SequenceAt works at depends on the data"


def test_a_list_that_is_an_output_keeps_its_tensors() -> None:
    model = build(
        """(float[N,5] x) => (l, y) {
          a = Gemm(x, wa)
          l = SequenceConstruct(a, a)
          y = MatMul(a, wy)
        }""",
        wa=(5, 6),
        wy=(6, 3),
    )
    assert groups(model) == []
    assert frozen(model)["wa:1"] == "graph output 'l' keeps its shape"


def test_an_identity_of_a_list_freezes_what_is_in_it() -> None:
    model = build(
        """(float[N,5] x) => (y) {
          a = Gemm(x, wa)
          l = SequenceConstruct(a, a)
          m = Identity(l)
          c = ConcatFromSequence<axis=1>(m)
          y = MatMul(c, wy)
        }""",
        wa=(5, 6),
        wy=(12, 3),
    )
    assert groups(model) == []
    assert "wa:1" in frozen(model)


def test_a_negative_place_counts_from_the_end_of_the_list_as_it_was() -> None:
    model = build(
        """(float[N,5] x) => (y) {
          a = Gemm(x, wa)
          b = Gemm(x, wb)
          c = Gemm(x, wc)
          l = SequenceConstruct(a, b)
          m = SequenceInsert(l, c, last)
          s = ConcatFromSequence<axis=1>(m)
          y = MatMul(s, wy)
        }""",
        last=-1,
        wa=(5, 6),
        wb=(5, 7),
        wc=(5, 8),
        wy=(21, 3),
    )
    assert_groups(model, ["6: wa:1 wy:0", "7: wb:1 wy:0", "8: wc:1 wy:0"])


def test_an_output_that_is_a_list_is_compared_tensor_by_tensor() -> None:
    model = build(
        """(float[N,5] x) => (l) {
          a = Gemm(x, wa)
          b = Gemm(a, wb)
          l = SplitToSequence<axis=1>(b, parts)
        }""",
        wa=(5, 6),
        wb=(6, 8),
        parts=[3, 5],
    )
    result = spa_cli.prune(model, ratio=0.5, method="l1")
    assert result.after.channels == 3
    assert result.drift.relative_l2 > 0
    assert spa_cli.verify(model, result.model).drift.relative_l2 > 0
