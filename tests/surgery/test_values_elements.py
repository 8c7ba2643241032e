"""Single sizes that are changed where they come from, or in front of the one node that reads them."""

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
from tests.surgery.cutting import COUNT, TWO_GO, advance, begun, finished, image, node, reads, sizes

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
