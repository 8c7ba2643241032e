"""Constants that blocks left behind: which layer takes one up, and which stay."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from spa_cli.channels.selection import Selection
from spa_cli.operators.settle import settled
from tests.builders import analysed, build, positive, with_initializer_inputs
from tests.equivalence import assert_same, feeds, run, signature
from tests.operators.test_bypass import BASIC, BASIC_WEIGHTS, plain

BRANCH = "a = MatMul(s, w1)\n b = MatMul(a, w2)\n c = Add(b, o)\n"
IMAGES = "(float[N,3,6,6] x) => (y) {{ {}\n a = Conv(s, w1)\n b = Conv(a, w2, b2)\n j = Add(s, b)\n y = Conv(j, wy) }}"
IMAGE_WEIGHTS = {"ws": (6, 3, 1, 1), "w1": (7, 6, 1, 1), "w2": (6, 7, 1, 1), "b2": (6,), "wy": (4, 6, 1, 1)}


def images(skip: str, **weights: object) -> onnx.ModelProto:
    """A block of two layers beside what ``skip`` makes."""
    return build(IMAGES.format(skip), **(IMAGE_WEIGHTS | weights))


def operators(model: onnx.ModelProto) -> str:
    """Without blocks, and settled, the operators that are left; what it gives is what it gave."""
    analysis = analysed(model)
    assert analysis.blocks
    work = analysis.cut(
        Selection(analysis.grouping).copy_emptied({i for b in analysis.blocks.values() for i in b.groups})
    )
    before = work.model.SerializeToString()
    small = settled(work.model, work.held)
    assert work.model.SerializeToString() == before
    onnx.checker.check_model(small, full_check=True)
    assert signature(small) == signature(model)
    for given in feeds(model, analysis.input_shapes, np.random.default_rng(0)):
        assert_same(model, run(work.model, given), run(small, given), 1e-5)
    return " ".join(n.op_type for n in small.graph.node)


@pytest.mark.parametrize(
    ("model", "left"),
    [
        pytest.param(images("s = Conv(x, ws, bs)", bs=(6,)), "Conv Conv", id="a bias"),
        pytest.param(images("s = Conv(x, ws)"), "Conv Conv", id="no bias yet"),
        pytest.param(
            images("t = Conv(x, ws)\n s = BatchNormalization(t, g, h, m, v)", g=(6,), h=(6,), m=(6,), v=positive(6)),
            "Conv BatchNormalization Conv",
            id="a norm",
        ),
        pytest.param(images("t = Conv(x, ws)\n s = Relu(t)"), "Conv Relu Add Conv", id="an activation"),
        pytest.param(
            images("t = Conv(x, ws)\n u = Conv(x, wu, bu)\n s = Add(t, u)", wu=(6, 3, 1, 1), bu=(6,)),
            "Conv Conv Add Conv",
            id="a sum",
        ),
        pytest.param(images("s = Conv(x, ws)", b2=np.zeros(6, np.float32)), "Conv Conv", id="zero"),
        pytest.param(build(BASIC, **BASIC_WEIGHTS), "Conv Relu Conv", id="the skip is a layer"),
        pytest.param(plain(BRANCH + "j = Add(s, c)", o=(6,)), "MatMul Add MatMul", id="a layer that has no bias"),
        pytest.param(
            plain(
                "t = Add(s, p)\n a = MatMul(t, w1)\n b = MatMul(a, w2)\n c = Add(b, o)\n j = Add(t, c)", p=(6,), o=(6,)
            ),
            "MatMul Add MatMul",
            id="a bias that is added",
        ),
        pytest.param(
            plain(
                "t = LayerNormalization(s, g, h)\n a = MatMul(t, w1)\n b = MatMul(a, w2)\n c = Add(b, o)\n"
                "j = Add(c, t)",
                g=positive(6),
                h=(6,),
                o=(6,),
            ),
            "MatMul LayerNormalization MatMul",
            id="post-norm",
        ),
        pytest.param(
            plain(BRANCH + "i = Add(s, c)\n k = Erf(s)\n j = Add(i, k)", o=(6,)),
            "MatMul Add Erf Add MatMul",
            id="another reader",
        ),
        pytest.param(
            plain("a = MatMul(s, w1)\n b = MatMul(a, w2)\n i = Add(s, b)\n k = Erf(s)\n j = Add(i, k)"),
            "MatMul Erf Add MatMul",
            id="zero beside another reader",
        ),
    ],
)
def test_what_is_left(model, left) -> None:
    assert operators(model) == left


def test_blocks_in_a_row() -> None:
    body = "".join(
        f"a{i} = MatMul(s{i}, w1)\n b{i} = MatMul(a{i}, w2)\n c{i} = Add(b{i}, o)\n s{i + 1} = Add(s{i}, c{i})\n"
        for i in range(3)
    )
    model = plain("s0 = Add(s, p)\n" + body + "j = Identity(s3)", o=(6,), p=(6,))
    assert operators(model) == "MatMul Add Identity MatMul"


def test_old_files_list_their_weights() -> None:
    assert operators(with_initializer_inputs(images("s = Conv(x, ws)"))) == "Conv Add Conv"
    assert operators(with_initializer_inputs(images("s = Conv(x, ws, bs)", bs=(6,)))) == "Conv Conv"


def test_a_sum_that_is_given_stays() -> None:
    text = IMAGES.format("s = Conv(x, ws)").replace("=> (y)", "=> (y, j)")
    assert operators(build(text, **IMAGE_WEIGHTS)) == "Conv Add Conv"


def test_nothing_to_settle() -> None:
    model = build(BASIC, **BASIC_WEIGHTS)
    assert settled(model, {}) is model
    assert numpy_helper.to_array(model.graph.initializer[0]).shape == (6, 3, 1, 1)
