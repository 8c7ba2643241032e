"""What a rule's rewrite can do to a node."""

import numpy as np
import pytest

from spa_cli.surgery.cut import Cut
from tests.builders import build
from tests.equivalence import run
from tests.surgery.cutting import advance, begun, finished, node, reads

# a pooling has attributes, a reshape sizes
TEXT = """(float[N,3,5,5] x) => (y) {
  a = Conv(x, wa)
  p = MaxPool<kernel_shape=[1,1], strides=[1,1]>(a)
  s = Shape(p)
  r = Reshape(p, z)
  y = Conv(r, wy)
}"""
WEIGHTS = {"wa": (6, 3, 1, 1), "z": [-1, 6, 5, 5], "wy": (4, 6, 1, 1)}


@pytest.fixture
def work() -> Cut:
    return begun(build(TEXT, **WEIGHTS), {"wa:0": [1, 4]})


def test_values_after_the_cut_beside_those_before(work) -> None:
    assert work.value("s").tolist() == work.old_value("s").tolist() == [1, 6, 5, 5]
    advance(work)
    assert work.value("s").tolist() == [1, 4, 5, 5]
    assert work.old_value("s").tolist() == [1, 6, 5, 5]


def test_attributes_of_the_new_node(work) -> None:
    pool = node(work, "p")
    assert work.attribute(pool, "strides") == [1, 1]
    assert work.attribute(pool, "pads") is None
    work.set_attribute(pool, "strides", [2, 2])
    work.set_attribute(pool, "pads", [0, 0, 0, 0])
    assert work.attribute(pool, "strides") == [2, 2]
    assert work.attribute(pool, "pads") == [0, 0, 0, 0]
    assert sorted(a.name for a in work.proto(pool).attribute) == ["kernel_shape", "pads", "strides"]
    # the model that was given stays
    assert pool.attr("strides") == [1, 1]
    assert sorted(a.name for a in pool.proto.attribute) == ["kernel_shape", "strides"]


def test_an_attribute_that_is_as_it_should_be_is_not_written_anew(work) -> None:
    pool = node(work, "p")
    order = [a.name for a in work.proto(pool).attribute]
    work.set_attribute(pool, order[0], work.attribute(pool, order[0]))
    assert [a.name for a in work.proto(pool).attribute] == order
    work.set_attribute(pool, order[0], [1, 2])
    assert [a.name for a in work.proto(pool).attribute] == order[::-1]


def test_taking_attributes_out(work) -> None:
    pool = node(work, "p")
    work.remove_attribute(pool, "strides")
    work.remove_attribute(pool, "strides")
    work.remove_attribute(pool, "ceil_mode")
    assert [a.name for a in work.proto(pool).attribute] == ["kernel_shape"]


def test_a_node_becomes_another(work) -> None:
    pool = node(work, "p")
    work.become(pool, "Gather", "a", np.array([3, 2, 1, 0], np.int32), axis=1)
    proto = work.proto(pool)
    assert (proto.op_type, proto.domain) == ("Gather", "")
    assert (list(proto.input), list(proto.output)) == (["a", "p_1_spa0"], ["p"])
    assert [(a.name, a.i) for a in proto.attribute] == [("axis", 1)]
    assert work.values.new_parameters["p_1_spa0"].dtype == np.int64
    work.set_elements(node(work, "r"), 1, {1: 4})
    fed = {"x": np.random.default_rng(0).standard_normal((2, 3, 5, 5)).astype(np.float32)}
    (result,) = run(finished(work), fed)
    kept = [0, 2, 3, 5]
    wa, wy = work.graph.array("wa")[kept, :, 0, 0], work.graph.array("wy")[:, kept, 0, 0]
    expected = np.einsum("nchw,kc,ok->nohw", fed["x"], wa[::-1], wy)
    assert np.allclose(result, expected, atol=1e-5)


def test_nodes_that_nobody_reads_any_more(work) -> None:
    assert work.dropped == []
    work.drop(node(work, "s"))
    assert [p.output[0] for p in work.dropped] == ["s"]
    assert work.dropped[0] is work.proto(node(work, "s"))


def test_elements_and_constants_are_set_through_the_cut(work) -> None:
    reshape = node(work, "r")
    work.set_elements(reshape, 1, {})
    assert not work.values.edited_parameters
    work.set_elements(reshape, 1, {1: 4})
    assert work.value("z").tolist() == [-1, 4, 5, 5]
    work.set_constant(reshape, 1, np.array([0, 4, 25]))
    assert work.value("z").tolist() == [0, 4, 25]
    assert reads(work, "r") == ["p", "z"]
