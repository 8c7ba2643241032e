"""Sizes that the graph computes, step by step: what they will be, and how single ones are changed."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spa_cli.errors import CutError
from spa_cli.graph.shapes import MAX_KNOWN
from spa_cli.surgery.cut import Cut
from tests.builders import build
from tests.equivalence import run
from tests.surgery.cutting import advance, begun, finished, node, reads

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
TWO_GO = {"wa:0": [1, 4]}


def image(batch=2) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((batch, 3, 5, 5)).astype(np.float32)}


def sizes(text, **weights) -> Cut:
    """A cut of a model whose ``a`` has 6 channels, two of which go; ``text``: what is computed from its shape."""
    body = f"(float[N,3,5,5] x) => (y) {{ a = Conv(x, wa)\n {text}\n y = Conv(a, wy) }}"
    return begun(build(body, wa=(6, 3, 1, 1), wy=(4, 6, 1, 1), **weights), TWO_GO)


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

COUNT = "s = Shape(a)\n c = Gather(s, one)\n"


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


# -- set_elements -----------------------------------------------------------------------------------------------------


def reshaped(z, **weights) -> Cut:
    """A cut of a model that reshapes its 6 channels, two of which go, to ``z``; sizes are followed up to there."""
    text = f"(float[N,3,5,5] x) => (y) {{ a = Conv(x, wa)\n {z}\n r = Reshape(a, z)\n y = Conv(r, wy) }}"
    work = begun(build(text, wa=(6, 3, 1, 1), wy=(4, 6, 1, 1), **weights), TWO_GO)
    return advance(work, until="r")


def assert_runs(work, batches=(1, 3)) -> None:
    """The finished model computes what the original does without the channels that went."""
    model = finished(work)
    kept = work.kept_indices("wa")["0"]
    wa, wy = work.graph.array("wa")[kept], work.graph.array("wy")[:, kept]
    for batch in batches:
        fed = image(batch)
        (result,) = run(model, fed)
        hidden = np.einsum("nchw,kc->nkhw", fed["x"], wa[:, :, 0, 0])
        assert np.allclose(result, np.einsum("nchw,kc->nkhw", hidden, wy[:, :, 0, 0]), atol=1e-5)


def test_nothing_to_set_sets_nothing() -> None:
    work = reshaped("z = Identity(given)", given=[-1, 6, 5, 5])
    work.set_elements(node(work, "r"), 1, {})
    assert not work.values.edited_parameters
    assert reads(work, "r") == ["a", "z"]


def test_an_entry_of_a_constant_changes_in_place() -> None:
    text = "(float[N,3,5,5] x) => (y) { a = Conv(x, wa) r = Reshape(a, z) y = Conv(r, wy) }"
    work = begun(build(text, wa=(6, 3, 1, 1), wy=(4, 6, 1, 1), z=[-1, 6, 5, 5]), TWO_GO)
    work.set_elements(node(work, "r"), 1, {1: 4})
    assert work.values.edited_parameters["z"].tolist() == [-1, 4, 5, 5]
    assert work.graph.array("z").tolist() == [-1, 6, 5, 5]
    assert not work.values.new_parameters
    assert_runs(work)


def test_an_entry_of_a_shared_constant_changes_for_one_reader() -> None:
    text = """(float[N,3,5,5] x) => (y, int64[4] t) {
      a = Conv(x, wa)
      r = Reshape(a, z)
      t = Neg(z)
      y = Conv(r, wy)
    }"""
    work = begun(build(text, wa=(6, 3, 1, 1), wy=(4, 6, 1, 1), z=[-1, 6, 5, 5]), TWO_GO)
    work.set_elements(node(work, "r"), 1, {1: 4})
    assert work.values.new_parameters["z_spa0"].tolist() == [-1, 4, 5, 5]
    assert run(finished(work), image())[1].tolist() == [1, -6, -5, -5]
    # once more, on top of what was set
    work.set_elements(node(work, "r"), 1, {0: 2})
    assert work.value(reads(work, "r")[1]).tolist() == [2, 4, 5, 5]
    assert work.values.new_parameters["z_spa0"].tolist() == [-1, 4, 5, 5]


def test_an_entry_changes_where_it_comes_from() -> None:
    work = reshaped(
        """s = Shape(a)
        n = Gather(s, naught)
        c = Cast<to=7>(six)
        u = Unsqueeze(c, naught)
        z = Concat<axis=0>(n, u, rest)""",
        naught=[0],
        six=np.array(6, np.int32),
        rest=[-1, 5],
    )
    work.set_elements(node(work, "r"), 1, {1: 4})
    (name, value), *others = work.values.edited_parameters.items()
    assert (name, int(value), value.dtype, value.shape, others) == ("six", 4, np.int32, (), [])
    assert work.value("z").tolist() == [1, 4, -1, 5]
    assert not work.values.inserted
    assert_runs(work)


def test_two_entries_of_one_constant_behind_a_concatenation() -> None:
    work = reshaped("n = Identity(free)\n z = Concat<axis=0>(n, rest)", free=[-1], rest=[6, 25, 1])
    work.set_elements(node(work, "r"), 1, {1: 4, 3: 1, 2: 25})
    assert {n: v.tolist() for n, v in work.values.edited_parameters.items()} == {"rest": [4, 25, 1]}
    assert work.value("z").tolist() == [-1, 4, 25, 1]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("z = Concat<axis=0>(n, six, rest)\n t = Neg(six)", "the constant has other readers"),
        ("z = Concat<axis=0>(n, six, rest)\n t = Neg(z)", "the sizes have other readers"),
        ("c = Mul(two, three)\n z = Concat<axis=0>(n, c, rest)", "it is computed"),
    ],
)
def test_what_has_no_constant_of_its_own_is_chosen_in_front_of_the_reader(text, why) -> None:
    constants = {"naught": [0], "six": [6], "rest": [-1, 5], "two": [2], "three": [3]}
    used = {k: v for k, v in constants.items() if k in text or k == "naught"}
    work = reshaped(f"s = Shape(a)\n n = Gather(s, naught)\n {text}", **used)
    work.set_elements(node(work, "r"), 1, {1: 4})
    assert not work.values.edited_parameters, why
    ((reader, (where,)),) = work.values.inserted
    assert reader.output[0] == "r"
    assert where.op_type == "Where"
    assert list(where.input) == ["z_static_spa0", "z_sizes_spa0", "z"]
    assert reads(work, "r") == ["a", where.output[0]]
    assert work.values.new_parameters["z_static_spa0"].tolist() == [False, True, False, False]
    assert work.values.new_parameters["z_sizes_spa0"].tolist() == [0, 4, 0, 0]
    assert work.value(where.output[0]).tolist() == [1, 4, -1, 5]
    assert work.value("z").tolist() == [1, 6, -1, 5]
    assert_runs(work)


# sizes that data decides, in a way that neither inference nor the reference operators follow
UNKNOWN = """(float[2,3,5,5] x) => (float[2,4,5,5] y) {{
  a = Conv(x, wa)
  m = ReduceMax<keepdims=0>(x)
  never = Mul(m, naught)
  always = Add(never, two)
  k = Cast<to=7>(always)
  {}
  r = Reshape(a, z)
  y = Conv(r, wy)
}}"""


def unknown(text, **weights) -> Cut:
    """A cut of a model in which values of the sizes ``z`` are not known, and the batch ``k`` among them."""
    two = np.full(1, 2, np.float32)
    model = build(
        UNKNOWN.format(text),
        wa=(6, 3, 1, 1),
        wy=(4, 6, 1, 1),
        naught=np.zeros(1, np.float32),
        two=two,
        six=[6],
        rest=[5, 5],
        **weights,
    )
    return advance(begun(model, TWO_GO), until="r")


def test_an_entry_among_unknown_ones_is_chosen_too() -> None:
    work = unknown("q = SequenceConstruct(k, six, rest)\n z = ConcatFromSequence<axis=0>(q)")
    assert work.old_value("z") is None
    assert work.old_shape("z") == (4,)
    work.set_elements(node(work, "r"), 1, {1: 4})
    assert reads(work, "r") == ["a", "z_spa0"]
    assert work.value("z_spa0") is None
    assert_runs(work, batches=(2,))


def test_an_entry_behind_an_unknown_part_is_chosen_too() -> None:
    text = """(float[N,3] x, int64[K] k) => (y, int64[M] d) {
      a = Gemm(x, wa)
      z = Concat<axis=0>(k, six)
      d = Neg(z)
      y = Gemm(a, wy)
    }"""
    work = begun(build(text, wa=(3, 6), wy=(6, 4), six=[6]), {"wa:1": [0]})
    size = work.old_shape("z")[0]
    work.set_elements(node(work, "d"), 0, {size - 1: 4})
    assert not work.values.edited_parameters
    fed = {"x": np.ones((1, 3), np.float32), "k": np.arange(size - 1)}
    assert run(finished(work), fed)[1].tolist() == [*range(0, 1 - size, -1), -4]


def test_of_so_many_sizes_as_data_decides_none_can_be_told() -> None:
    work = unknown(
        "z0 = Concat<axis=0>(k, six, rest)\n c = Expand(ok, four)\n z = Compress(z0, c)", ok=np.ones(1, bool), four=[4]
    )
    with pytest.raises(CutError, match=r"^how many sizes 'Reshape_r' reads from 'z' depends on the data$"):
        work.set_elements(node(work, "r"), 1, {1: 4})


# -- what grows with the input ----------------------------------------------------------------------------------------

# the batch times the number of heads, as PyTorch's attention computes it: 6 channels are 2 heads of 3
HEADS = """(float[N,6] x) => (y) {{
  a = MatMul(x, wa)
  s = Shape(x)
  n = Gather(s, naught)
  {}
  z = Concat<axis=0>(nh, three)
  r = Reshape(a, z)
  v = Relu(r)
  f = Reshape(v, back)
  y = MatMul(f, wy)
}}"""


def headed(text, **weights) -> Cut:
    """A cut of a model whose sizes ``nh`` grow with the batch; one of two heads goes."""
    given = {"wa": (6, 6), "wy": (6, 4), "naught": [0], "three": [3], "back": [-1, 6], **weights}
    return advance(begun(build(HEADS.format(text), **given), {"wa:1": [0]}), until="r")


@pytest.mark.parametrize("product", ["Mul(n, two)", "Mul(two, n)"])
def test_a_size_that_grows_with_the_input_changes_in_its_constant_factor(product) -> None:
    work = headed(f"nh = {product}", two=[2])
    assert work.varying("z").tolist() == [True, False]
    assert work.value("z").tolist() == [2, 3]
    work.set_elements(node(work, "r"), 1, {0: 1})
    assert {n: v.tolist() for n, v in work.values.edited_parameters.items()} == {"two": [1]}


@pytest.mark.parametrize(
    ("text", "weights", "wanted"),
    [
        pytest.param("nh = Mul(n, two)\n t = Neg(two)", {"two": [2]}, 1, id="others read the factor"),
        pytest.param("nh = Mul(n, two)\n t = Neg(nh)", {"two": [2]}, 1, id="others read the product"),
        pytest.param("nh = Mul(n, n)", {}, 2, id="no factor is constant"),
        pytest.param("m = Add(n, n)\n nh = Mul(m, two)", {"two": [1]}, 1, id="it is no multiple"),
        pytest.param("nh = Add(n, two)", {"two": [1]}, 1, id="it is a sum"),
        pytest.param("both = Concat<axis=0>(n, n)\n nh = ReduceProd(both)", {}, 1, id="it is a product of a list"),
    ],
)
def test_a_size_that_grows_with_the_input_in_another_way_is_refused(text, weights, wanted) -> None:
    work = headed(text, **weights)
    with pytest.raises(CutError, match=r"^the size '[a-z]+' depends on the input in a way that can't be rewritten$"):
        work.set_elements(node(work, "r"), 1, {0: wanted})
    assert not work.values.edited_parameters


# -- what can't be chosen ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "opset", "weights"),
    [
        pytest.param("z = Reshape(given, square)\n t = Neg(z)", 18, {"square": [2, 2]}, id="a table"),
        pytest.param("z = Expand(one, many)", 18, {"one": [1], "many": [MAX_KNOWN + 1]}, id="too many"),
        pytest.param("z = Add(given, given)", 8, {}, id="before Where could choose integers"),
    ],
)
def test_sizes_that_can_not_be_chosen(text, opset, weights) -> None:
    given = {"given": [-1, 6, 5, 5]} if "given" in text else {}
    body = f"(float[N,3,5,5] x) => (y) {{ a = Conv(x, wa)\n {text}\n d = Abs(z)\n y = Conv(a, wy) }}"
    model = build(body, opset=opset, wa=(6, 3, 1, 1), wy=(4, 6, 1, 1), **given, **weights)
    work = advance(begun(model, TWO_GO))
    with pytest.raises(CutError, match=r"^the sizes that 'Abs_d' reads from 'z' can't be rewritten$"):
        work.set_elements(node(work, "d"), 0, {1: 4})


def test_a_single_number_is_chosen_too() -> None:
    work = advance(sizes(COUNT + "d = Abs(c)", one=1))
    work.set_elements(node(work, "d"), 0, {0: 6})
    (name,) = reads(work, "d")
    assert work.value(name) == 6
    assert work.value(name).shape == ()


# -- whatever sizes are made of ---------------------------------------------------------------------------------------


class Pieces:
    """Text of sizes put together from constants and the input's shape, some of which others read too."""

    def __init__(self, draw):
        self.draw, self.lines, self.weights, self.outputs = draw, [], {}, []
        self.static = []

    def name(self, stem) -> str:
        return f"{stem}{len(self.lines) + len(self.weights)}"

    def constant(self, dtype=np.int64, shape=(-1,), count=None) -> str:
        values = self.draw(st.lists(st.integers(1, 9), min_size=count or 1, max_size=count or 3))
        name = self.name("c")
        self.weights[name] = np.array(values, dtype).reshape(shape)
        return name

    def op(self, text) -> str:
        name = self.name("t")
        self.lines.append(f"{name} = {text}")
        return name

    def piece(self) -> str:
        kind = self.draw(st.sampled_from(["constant", "constant", "cast", "scalar", "computed", "batch", "shape"]))
        if kind in ("batch", "shape"):
            width = 1 if kind == "batch" else 2
            self.static += [False] + [True] * (width - 1)
            return self.op(f"Shape<end={width}>(x)")
        if kind == "scalar":
            name = self.op(f"Unsqueeze({self.constant(shape=(), count=1)}, naught)")
        elif kind == "cast":
            name = self.op(f"Cast<to=7>({self.constant(np.int32)})")
        elif kind == "computed":
            a = self.constant()
            name = self.op(f"Add({a}, {a})")
        else:
            name = self.constant()
        source = next(n for n in reversed(self.weights))
        self.static += [True] * self.weights[source].size
        if self.draw(st.booleans()):
            self.outputs.append(self.op(f"Neg({self.draw(st.sampled_from(sorted({name, source})))})"))
        return name


@st.composite
def chosen_sizes(draw) -> tuple[onnx.ModelProto, str, dict[int, int]]:
    """A model that gives the negative of some sizes, and what to put in place of some that don't vary."""
    pieces = Pieces(draw)
    parts = [pieces.piece() for _ in range(draw(st.integers(1, 3)))]
    inner = pieces.op(f"Concat<axis=0>({', '.join(parts)})")
    parts = [pieces.piece() for _ in range(draw(st.integers(0, 1)))]
    z = pieces.op(f"Concat<axis=0>({', '.join([inner, *parts])})")
    outputs = [pieces.op(f"Neg({z})"), *pieces.outputs]
    places = [i for i, static in enumerate(pieces.static) if static]
    wanted = draw(st.dictionaries(st.sampled_from(places), st.integers(1, 9), min_size=1)) if places else {}
    body = "\n".join([*pieces.lines, "h = MatMul(x, wh)", "y = MatMul(h, wy)"])
    text = f"(float[N,6] x) => ({', '.join(['y', *outputs])}) {{ {body} }}"
    model = build(text, wh=(6, 4), wy=(4, 3), naught=[0], **pieces.weights)
    return model, outputs[0], wanted


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(chosen_sizes())
def test_entries_are_set_for_one_reader_at_any_batch_and_for_nobody_else(drawn) -> None:
    model, output, wanted = drawn
    work = advance(begun(model, {"wh:1": [2]}), until=output)
    work.set_elements(node(work, output), 0, wanted)
    changed = finished(work)
    for batch in (1, 4):
        fed = {"x": np.ones((batch, 6), np.float32)}
        before, after = run(model, fed), run(changed, fed)
        expected = before[1].copy()
        expected[list(wanted)] = [-v for v in wanted.values()]
        assert after[1].tolist() == expected.tolist()
        assert [o.tolist() for o in after[2:]] == [o.tolist() for o in before[2:]]
