"""What a selection leaves of shapes and parameters; the part of an array that a plan's entry keeps."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from spa_cli.surgery.cut import Cut
from spa_cli.surgery.remaining import gather, removed_mask
from tests import equivalence
from tests.builders import build, positive
from tests.surgery.cutting import begun, node

CHAIN = """(float[N,3,5,5] x) => (y) {
  a = Conv(x, wa, ba)
  r = Relu(a)
  y = Conv(r, wy)
}"""
WEIGHTS = {"wa": (6, 3, 1, 1), "ba": (6,), "wy": (4, 6, 1, 1)}
GROUPED = """(float[N,3,4,4] x) => (y) {
  a = Conv(x, wa)
  g = Conv<group=2>(a, wg)
  r = Relu(g)
  y = Conv(r, wy)
}"""
BLOCKS = {"wa": (8, 3, 1, 1), "wg": (6, 4, 1, 1), "wy": (4, 6, 1, 1)}


@pytest.fixture
def chain() -> Cut:
    return begun(build(CHAIN, **WEIGHTS), {"wa:0": [1, 4]})


# -- shapes and indices -----------------------------------------------------------------------------------------------


def test_shapes_before_and_after(chain) -> None:
    assert chain.old_shape("wa") == (6, 3, 1, 1)
    assert chain.shape("wa") == (4, 3, 1, 1)
    assert chain.shape("ba") == (4,)
    assert chain.shape("wy") == (4, 4, 1, 1)
    assert chain.shape("r") == (1, 4, 5, 5)
    assert chain.shape("y") == chain.old_shape("y") == (1, 4, 5, 5)
    assert [n for n in ("x", "wa", "ba", "a", "r", "wy", "y") if chain.changed(n)] == ["wa", "ba", "a", "r", "wy"]
    assert chain.shape("no such tensor") == ()


def test_a_size_that_data_decides_is_nought() -> None:
    text = "(float[N,3] x) => (y, int64[2,M] z) { a = Gemm(x, wa) y = Gemm(a, wy) z = NonZero(a) }"
    work = begun(build(text, wa=(3, 6), wy=(6, 4)), {})
    assert work.old_shape("z") == work.shape("z") == (2, 0)
    assert not work.changed("z")


def test_which_indices_stay_and_where_they_are(chain) -> None:
    assert chain.kept_mask("r", 1).tolist() == [True, False, True, True, False, True]
    assert chain.new_positions("r", 1).tolist() == [0, -1, 1, 2, -1, 3]
    assert chain.kept_mask("r", 2).all()
    assert chain.new_positions("r", 2).tolist() == [0, 1, 2, 3, 4]
    assert chain.moves("r", 1)
    assert not chain.moves("r", 2)
    # one axis of ids, one mask
    assert chain.kept_mask("r", 1) is chain.kept_mask("wa", 0)


def test_what_the_plan_says_of_a_parameter(chain) -> None:
    kept = [0, 2, 3, 5]
    found = {n: chain.kept_indices(n) for n in WEIGHTS}
    assert found == {"wa": {"0": kept}, "ba": {"0": kept}, "wy": {"1": kept}}
    assert np.array_equal(chain.gather("wa"), chain.graph.array("wa")[kept])
    assert np.array_equal(chain.gather("wy"), chain.graph.array("wy")[:, kept])


def test_blocks_that_keep_different_channels() -> None:
    work = begun(build(GROUPED, **BLOCKS), {"wg:1": [[0], [3]]})
    assert work.kept_indices("wa") == {"0": [1, 2, 3, 4, 5, 6]}
    assert work.kept_indices("wg") == {"1": [[1, 2, 3], [0, 1, 2]]}
    assert work.kept_indices("wy") == {}
    # how many stay of an axis that does not say which block
    assert work.shape("wg") == (6, 3, 1, 1)
    before = work.graph.array("wg")
    assert np.array_equal(work.gather("wg"), np.concatenate([before[:3, 1:], before[3:, :3]]))


def test_blocks_that_lose_rows_and_columns() -> None:
    work = begun(build(GROUPED, **BLOCKS), {"wg:1": [[0], [3]], "wg:0": [[2], [0]]})
    assert work.kept_indices("wg") == {"0": [0, 1, 4, 5], "1": [[1, 2, 3], [0, 1, 2]]}
    before = work.graph.array("wg")
    assert np.array_equal(work.gather("wg"), np.concatenate([before[:2, 1:], before[4:, :3]]))
    assert work.shape("wg") == work.gather("wg").shape == (4, 3, 1, 1)


def test_nothing_selected_leaves_all() -> None:
    work = begun(build(CHAIN, **WEIGHTS), {})
    assert all(work.kept_indices(n) == {} and not work.changed(n) for n in WEIGHTS)
    assert np.array_equal(work.gather("wa"), work.graph.array("wa"))


# -- values -----------------------------------------------------------------------------------------------------------


def test_values_before_the_cut_and_what_varies_in_them() -> None:
    text = """(float[N,3,T] x) => (y) {
      a = Conv(x, wa)
      s = Shape(a)
      c = Gather(s, one)
      y = Conv(a, wy)
    }"""
    work = begun(build(text, wa=(6, 3, 1), wy=(4, 6, 1), one=[1]), {"wa:0": [0]})
    assert work.old_value("s").tolist()[1] == 6
    assert work.varying("s").tolist() == [True, False, True]
    assert work.varying("c").tolist() == [False]
    assert work.varying("one").tolist() == [False]
    assert work.old_value("a") is None
    assert work.old_value("") is None


def test_of_what_is_not_known_nothing_is_said_to_vary(chain) -> None:
    assert chain.old_value("a") is None
    assert chain.varying("a").shape == chain.old_shape("a")
    assert not chain.varying("a").any()


# -- the new model ----------------------------------------------------------------------------------------------------


def test_the_new_model_is_a_copy_without_the_weights() -> None:
    model = build(CHAIN, **WEIGHTS, s=positive(6))
    model.doc_string, model.graph.doc_string, model.producer_name = "of all", "of the graph", "somebody"
    entry = model.metadata_props.add()
    entry.key, entry.value = "author", "somebody"
    work = begun(model, {"wa:0": [0]})
    assert not work.model.graph.initializer
    copy = onnx.ModelProto()
    copy.CopyFrom(work.model)
    copy.graph.initializer.extend(work.graph.model.graph.initializer)
    assert copy == work.graph.model
    proto = work.proto(node(work, "r"))
    assert proto is not node(work, "r").proto
    proto.name = "changed"
    assert [n.name for n in work.model.graph.node][1] == "changed"
    assert [n.name for n in work.graph.model.graph.node][1] == "Relu_r"


def test_nodes_inside_bodies_are_found_in_the_new_model() -> None:
    text = """(float[N,3] x, bool flag) => (y) {
      a = Gemm(x, wa)
      b = If (flag) <
        then_branch = then () => (float[1,6] t) { t = Relu(a) },
        else_branch = other () => (float[1,6] o) { o = Neg(a) }
      >
      y = Gemm(b, wy)
    }"""
    work = begun(build(text, wa=(3, 6), wy=(6, 4)), {"wa:1": [0]})
    bodies = {b.g.name: b.g for b in work.model.graph.node[1].attribute}
    assert work.proto(node(work, "t")) is bodies["then"].node[0]
    assert work.proto(node(work, "o")) is bodies["other"].node[0]


# -- entries of a plan ------------------------------------------------------------------------------------------------


def test_gather_and_removed_mask_of_a_few_entries() -> None:
    array = np.arange(24).reshape(4, 6)
    assert np.array_equal(gather(array, {}), array)
    assert np.array_equal(gather(array, {"1": [0, 5], "0": [3, 1]}), array[[3, 1]][:, [0, 5]])
    assert gather(array, {"1": [[0], [5]]}).tolist() == [[0], [6], [17], [23]]
    assert gather(array, {"0": [1, 2], "1": [[0], [5]]}).tolist() == [[6], [17]]
    assert gather(array, {"0": [2, 3], "1": [[0], [5]]}).tolist() == [[17], [23]]
    assert not removed_mask((4, 6), {}).any()
    assert removed_mask((2, 3), {"0": [1]}).tolist() == [[True] * 3, [False] * 3]
    assert removed_mask((2, 3), {"1": [[0, 1], [2]]}).tolist() == [[False, False, True], [True, True, False]]


@st.composite
def entries(draw) -> tuple[np.ndarray, dict[str, list]]:
    """An array, all of whose elements differ, and what a plan could keep of it."""
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=6))
    array = np.arange(np.prod(shape)).reshape(shape)

    def kept(size: int, count: int | None = None) -> list[int]:
        some = st.lists(st.integers(0, size - 1), min_size=count or 1, max_size=count or size, unique=True)
        return sorted(draw(some))

    axes = draw(st.sets(st.integers(0, len(shape) - 1)))
    entry = {str(axis): kept(shape[axis]) for axis in sorted(axes)}
    blocked = draw(st.sampled_from([None, *range(1, len(shape))]))
    if blocked is not None:
        count = draw(st.sampled_from([n for n in range(1, shape[0] + 1) if shape[0] % n == 0]))
        width = draw(st.integers(1, shape[blocked]))
        entry[str(blocked)] = [kept(shape[blocked], width) for _ in range(count)]
    return array, entry


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(entries())
def test_what_is_gathered_is_what_no_mask_removes(drawn) -> None:
    array, entry = drawn
    found, removed = gather(array, entry), removed_mask(array.shape, entry)
    assert found.ravel().tolist() == array[~removed].tolist()
    assert found.ndim == array.ndim
    assert np.array_equal(~removed, equivalence.kept_mask(array.shape, entry))
