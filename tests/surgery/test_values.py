"""Sizes that the graph computes, step by step: what they will be, and how single ones are changed."""

import numpy as np
import pytest

from spa_cli.errors import CutError
from spa_cli.graph.shapes import MAX_KNOWN
from spa_cli.surgery.cut import Cut
from tests.builders import build
from tests.equivalence import run
from tests.surgery.cutting import COUNT, TWO_GO, advance, begun, finished, image, node, reads, sizes

# two of six channels go; the new sizes of the reshape are put together from the batch, a constant and a rest
APART = """(float[N,3,5,5] x) => (y) {
  a = Conv(x, wa, ba)
  s = Shape(a)
  n = Gather(s, zero)
  z = Concat<axis=0>(n, six, rest)
  r = Reshape(a, z)
  y = Conv(r, wy)
}"""
WEIGHTS = {"wa": (6, 3, 1, 1), "ba": (6,), "zero": [0], "six": [6], "rest": [-1, 5], "wy": (4, 6, 1, 1)}


# -- now and advance --------------------------------------------------------------------------------------------------


def test_before_anything_is_done_values_are_those_of_the_model() -> None:
    values = begun(build(APART, **WEIGHTS), TWO_GO).values
    assert values.now("six").tolist() == [6]
    assert values.now("z").tolist() == [1, 6, -1, 5]
    assert values.now("a") is None
    assert values.now("") is None
    assert values.now("no such tensor") is None


def test_a_parameter_that_is_cut_holds_what_stays() -> None:
    model = build(APART, **WEIGHTS)
    work = begun(model, TWO_GO)
    before = work.graph.array("ba")
    assert np.array_equal(work.values.now("ba"), before[[0, 2, 3, 5]])
    assert np.array_equal(work.old_value("ba"), before)


def test_a_parameter_too_large_to_look_at_is_unknown_before_and_after() -> None:
    width = MAX_KNOWN // 256 + 1
    model = build("(float[N,4] x) => (y) { a = MatMul(x, wa) y = MatMul(a, wy) }", wa=(4, width), wy=(width, 256))
    work = begun(model, {"wa:1": [0]})
    assert work.values.now("wa").shape == (4, width - 1)
    assert work.changed("wy")
    assert work.values.now("wy") is None


def test_sizes_follow_a_cut_through_arithmetic() -> None:
    work = sizes(
        """s = Shape(a)
        c = Gather(s, one)
        half = Div(c, two)
        z = Concat<axis=0>(two, half, rest)""",
        one=[1],
        two=[2],
        rest=[-1, 5],
    )
    advance(work)
    assert work.old_value("z").tolist() == [2, 3, -1, 5]
    assert {n: work.value(n).tolist() for n in ("s", "c", "half", "z")} == {
        "s": [1, 4, 5, 5],
        "c": [4],
        "half": [2],
        "z": [2, 2, -1, 5],
    }
    assert work.value("z").dtype == np.int64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s = Shape(a)", [1, 4, 5, 5]),
        ("s = Shape<start=1>(a)", [4, 5, 5]),
        ("s = Shape<end=2>(a)", [1, 4]),
        ("s = Shape<start=-3, end=-1>(a)", [4, 5]),
        ("s = Size(a)", 100),
    ],
)
def test_the_shape_of_what_was_cut(text, expected) -> None:
    work = advance(sizes(text))
    assert work.value("s").tolist() == expected


def test_what_no_cut_reaches_is_not_affected() -> None:
    work = advance(sizes("s = Shape(x)\n n = Gather(s, zero)\n q = Shape(a)", zero=[0]))
    assert work.values.affected("q")
    assert not work.values.affected("s")
    assert not work.values.affected("n")
    assert not work.values.affected("zero")
    assert work.value("n").tolist() == [1]


def test_a_tensor_of_data_stays_unknown() -> None:
    work = advance(sizes("r = Relu(a)"))
    assert work.values.affected("r")
    assert work.value("r") is None


def test_a_value_that_can_not_be_computed_is_unknown_and_so_is_all_that_follows() -> None:
    work = sizes(
        """s = Shape(a)
        c = Gather(s, scalar)
        line = Range(naught, c, step)
        grid = Reshape(line, apart)
        more = Add(grid, step)""",
        scalar=1,
        naught=0,
        step=1,
        apart=[2, 3],
    )
    advance(work)
    assert work.value("line").tolist() == [0, 1, 2, 3]
    assert work.old_value("grid").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert work.value("grid") is None
    assert work.value("more") is None
    assert work.values.affected("more")


def test_values_are_read_as_they_were_edited() -> None:
    work = sizes("s = Shape(a)\n z = Concat<axis=0>(six, s)", six=[6])
    work.set_constant(node(work, "z"), 0, np.array([9]))
    advance(work)
    assert work.value("six").tolist() == [9]
    assert work.values.edited_parameters["six"].tolist() == [9]
    assert work.values.affected("six")
    assert work.value("z").tolist() == [9, 1, 4, 5, 5]
    assert work.old_value("z").tolist() == [6, 1, 6, 5, 5]


# -- pin --------------------------------------------------------------------------------------------------------------


def pinned(work) -> Cut:
    for each in work.graph.all_nodes:
        work.values.pin(each)
        work.values.advance(each)
    return work


def test_a_size_that_becomes_a_number_keeps_its_value() -> None:
    work = pinned(sizes(COUNT + "f = Cast<to=1>(c)", one=[1]))
    (name,) = reads(work, "f")
    assert name == "c_spa0"
    assert work.values.new_parameters[name].tolist() == [6]
    assert work.value("f").tolist() == [6.0]
    assert work.value("c").tolist() == [4]


@pytest.mark.parametrize("to", [6, 7])
def test_a_cast_to_integers_is_still_a_size(to) -> None:
    work = pinned(sizes(COUNT + f"i = Cast<to={to}>(c)", one=[1]))
    assert reads(work, "i") == ["c"]
    assert work.value("i").tolist() == [4]
    assert not work.values.new_parameters


def test_size_arithmetic_is_left_to_compute() -> None:
    work = pinned(sizes(COUNT + "d = Mul(c, two)\n e = Sub(d, one)", one=[1], two=[2]))
    assert reads(work, "d") == ["c", "two"]
    assert work.value("e").tolist() == [7]
    assert not work.values.new_parameters


def test_of_a_line_of_sizes_only_those_that_changed_are_put_back() -> None:
    text = """(float[N,3,5,5] x) => (y, float[4] f) {
      a = Conv(x, wa)
      s = Shape(a)
      f = Cast<to=1>(s)
      y = Conv(a, wy)
    }"""
    model = build(text, wa=(6, 3, 1, 1), wy=(4, 6, 1, 1))
    work = pinned(begun(model, TWO_GO))
    work.values.check_outputs()
    for batch in (1, 3):
        _, told = run(finished(work), image(batch))
        assert told.tolist() == [batch, 6, 5, 5]


def test_a_table_that_sizes_cut_something_out_of_is_no_size() -> None:
    work = pinned(
        sizes(
            COUNT + "t = Slice(table, naught, c)\n d = Sin(t)",
            one=[1],
            naught=[0],
            table=np.arange(6, dtype=np.float32),
        )
    )
    assert work.value("t").tolist() == [0, 1, 2, 3]
    assert reads(work, "d") == ["t"]


def test_a_number_that_grows_with_the_input_can_not_be_put_back() -> None:
    work = sizes("c = Size(a)\n f = Cast<to=1>(c)")
    with pytest.raises(CutError, match="'Cast_f' reads the size 'c', which would change"):
        pinned(work)


# -- check_outputs ----------------------------------------------------------------------------------------------------


def test_a_size_that_is_an_output_may_not_change() -> None:
    text = "(float[N,3,4] x) => (y, int64[3] s) { a = Conv(x, wa) s = Shape(a) y = Conv(a, wy) }"
    model = build(text, wa=(4, 3, 1), wy=(5, 4, 1))
    work = begun(model, {"wa:0": [0]})
    work.values.check_outputs()
    advance(work)
    with pytest.raises(CutError, match=r"^the size given as graph output 's' would change$"):
        work.values.check_outputs()


def test_a_size_that_a_body_gives_may_not_change() -> None:
    text = """(float[N,6] x, bool flag) => (y, int64[2] e) {
      a = MatMul(x, wa)
      e = If (flag) <
        then_branch = then () => (int64[2] t) { t = Shape(a) },
        else_branch = other () => (int64[2] o) { o = Identity(two) }
      >
      y = MatMul(a, wy)
    }"""
    work = begun(build(text, wa=(6, 8), wy=(8, 4), two=[1, 2]), {"wa:1": [3]})
    advance(work)
    with pytest.raises(CutError, match=r"^the size 't', which a body gives, would change$"):
        work.values.check_outputs()


def test_an_output_of_sizes_that_stay_is_none_to_complain_of() -> None:
    text = """(float[N,3,4] x) => (y, int64[1] n) {
      a = Conv(x, wa)
      s = Shape(a)
      n = Gather(s, two)
      y = Conv(a, wy)
    }"""
    work = advance(begun(build(text, wa=(4, 3, 1), wy=(5, 4, 1), two=[2]), {"wa:0": [0]}))
    assert work.value("s").tolist() == [1, 3, 4]
    work.values.check_outputs()
    assert work.value("n").tolist() == [4]


# -- set_constant and connect -----------------------------------------------------------------------------------------


def test_a_constant_that_one_node_reads_is_changed_in_place() -> None:
    work = sizes("p = Add(six, six)\n q = Neg(two)", six=[6], two=[2])
    work.set_constant(node(work, "q"), 0, np.array([3]))
    assert work.values.edited_parameters["two"].tolist() == [3]
    assert reads(work, "q") == ["two"]
    assert not work.values.new_parameters


def test_a_constant_that_others_read_too_stays_and_the_node_gets_its_own() -> None:
    work = sizes("p = Neg(six)\n q = Abs(six)", six=[6])
    work.set_constant(node(work, "q"), 0, np.array([3]))
    assert reads(work, "p") == ["six"]
    assert reads(work, "q") == ["six_spa0"]
    assert work.value("six").tolist() == [6]
    assert work.value("six_spa0").tolist() == [3]
    assert not work.values.edited_parameters


def test_a_constant_that_is_an_output_stays() -> None:
    text = "(float[N,3,4] x) => (y, int64[1] six) { a = Conv(x, wa) q = Abs(six) y = Conv(a, wy) }"
    work = begun(build(text, wa=(4, 3, 1), wy=(5, 4, 1), six=[6]), {"wa:0": [0]})
    work.set_constant(node(work, "q"), 0, np.array([3]))
    assert reads(work, "q") == ["six_spa0"]
    assert not work.values.edited_parameters


def test_an_input_that_a_node_did_not_have() -> None:
    work = sizes("p = Clip(a)")
    work.values.connect(node(work, "p"), 2, np.array(7, np.float32))
    assert reads(work, "p") == ["a", "", "p_2_spa0"]
    work.values.connect(node(work, "p"), 1, np.array(6, np.float32))
    assert reads(work, "p") == ["a", "p_1_spa0", "p_2_spa0"]


def test_equal_constants_are_one_and_names_are_free() -> None:
    work = sizes("p = Neg(six)\n q = Abs(six)\n six_spa0 = Identity(six)", six=[6])
    for output in "pq":
        work.values.connect(node(work, output), 0, np.array([3]))
    assert reads(work, "p") == reads(work, "q") == ["six_spa1"]
    work.values.connect(node(work, "q"), 0, np.array([3], np.int32))
    assert reads(work, "q") == ["six_spa2"]
    assert {n: v.dtype for n, v in work.values.new_parameters.items()} == {
        "six_spa1": np.int64,
        "six_spa2": np.int32,
    }
