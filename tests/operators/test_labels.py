"""Index labels, and what follows from them: cost, roles, shapes, the weight as a matrix."""

import math

import numpy as np
import pytest

from spa_cli.channels.state import Decline
from spa_cli.graph.view import build as view
from spa_cli.operators.contraction import Contraction, seen_from
from spa_cli.operators.contracts import Contracts
from spa_cli.operators.labels import Labels, cover, parse
from tests.builders import build

CONV, TRANSPOSED = "n(gc)(s+k)*,(gm)ck*->n(gm)s*", "n(gc)s*,(gc)mk*->n(gm)(s+k)*"


@pytest.mark.parametrize(
    ("equation", "ranks", "terms", "result"),
    [
        ("mk,kn->mn", (2, 2), (("m", "k"), ("k", "n")), ("m", "n")),
        ("bij, bjk", (3, 3), (("b", "i", "j"), ("b", "j", "k")), ("i", "k")),
        ("...k,kn->...n", (4, 2), ((".-3", ".-2", ".-1", "k"), ("k", "n")), (".-3", ".-2", ".-1", "n")),
        ("...mk,...kn->...mn", (4, 3), ((".-2", ".-1", "m", "k"), (".-1", "k", "n")), (".-2", ".-1", "m", "n")),
        ("...a,...a", (2, 2), ((".-1", "a"), (".-1", "a")), (".-1",)),
        (
            CONV,
            (4, 4),
            (("n", "g c", "s0+k0", "s1+k1"), ("g m", "c", "k0", "k1")),
            ("n", "g m", "s0", "s1"),
        ),
        (TRANSPOSED.replace("g", ""), (3, 3), (("n", "c", "s0"), ("c", "m", "k0")), ("n", "m", "s0+k0")),
    ],
)
def test_an_equation_labels_every_axis(equation, ranks, terms, result) -> None:
    assert parse(equation, ranks) == Labels(terms, result)


@pytest.mark.parametrize(
    ("equation", "shapes", "combinations"),
    [
        ("mk,kn->mn", [(2, 7), (7, 5), (2, 5)], 2 * 7 * 5),
        ("...mk,...kn->...mn", [(1, 4, 2, 7), (3, 1, 7, 5), (3, 4, 2, 5)], 3 * 4 * 2 * 7 * 5),
        ("...mk,...kn->...mn", [(2, 7), (6, 7, 5), (6, 2, 5)], 6 * 2 * 7 * 5),
        ("ij->i", [(2, 3), (2,)], 6),
        (CONV, [(2, 8, 9, 9), (6, 4, 3, 3), (2, 6, 7, 7)], 2 * 6 * 7 * 7 * 4 * 9),
        (TRANSPOSED, [(2, 8, 5), (8, 3, 2), (2, 6, 6)], 2 * 8 * 5 * 3 * 2),
    ],
)
def test_axes_that_cover_every_label_once(equation, shapes, combinations) -> None:
    labels = parse(equation, tuple(len(s) for s in shapes[:-1]))
    assert math.prod(shapes[tensor][axis] for tensor, axis in cover(labels)) == combinations


@pytest.mark.parametrize(
    ("equation", "ranks", "axes"),
    [
        ("mk,kn->mn", (2, 2), ([0], [1])),
        ("mk,nk->mn", (2, 2), ([0], [0])),
        ("bthe,hed->btd", (4, 3), ([0, 1], [2])),
        (CONV, (4, 4), ([0], [0])),
        (TRANSPOSED, (4, 4), ([0], [1])),
        ("tbi,dgi->tdbh", (3, 3), ([0, 1], [0, 1])),
    ],
)
def test_axes_along_which_an_operand_makes_channels(equation, ranks, axes) -> None:
    labels = parse(equation, ranks)
    assert tuple(labels.output_axes(at) for at in (0, 1)) == axes


@pytest.mark.parametrize(
    ("equation", "x", "w", "matrix"),
    [
        ("mk,kn->mn", (3, 4), (4, 5), (1, 5, 4)),
        ("bti,io->bto", (2, 7, 4), (4, 5), (1, 5, 4)),
        ("bhti,hio->bhto", (2, 3, 7, 4), (3, 4, 5), (3, 5, 4)),
        ("bthe,hed->btd", (2, 7, 3, 4), (3, 4, 5), (1, 5, 12)),
        (CONV, (2, 8, 9, 9), (6, 4, 3, 3), (2, 3, 36)),
        (TRANSPOSED, (2, 8, 5), (8, 3, 2), (2, 6, 4)),
    ],
)
def test_a_weight_is_one_matrix_per_group(equation, x, w, matrix) -> None:
    terms = seen_from(parse(equation, (len(x), len(w))), 1, w, x)
    assert terms is not None
    weight = np.random.default_rng(0).normal(size=w)
    found = terms.matrix(weight, terms.count(x, w) or 2)
    assert found.shape == matrix
    assert np.array_equal(terms.restore(found, w), weight)


def test_what_is_no_linear_map_of_rows_has_no_matrix() -> None:
    assert seen_from(parse("btd,dk->bk", (3, 2)), 1, (4, 5), (2, 7, 4)) is None
    assert seen_from(parse("bt,tt->bt", (2, 2)), 1, (4, 4), (2, 4)) is None
    # the same input for all of three problems
    assert seen_from(parse("hti,hio->hto", (3, 3)), 1, (3, 4, 5), (1, 7, 4)) is None


def test_an_axis_of_one_numbers_no_problems() -> None:
    terms = seen_from(parse("hti,hio->hto", (3, 3)), 1, (1, 4, 5), (3, 7, 4))
    assert terms == Contraction(("h", "t", "i"), ("10", "i", "o"), ("h", "t", "o"))
    assert not terms.groups


@pytest.mark.parametrize(("equation", "axis"), [(CONV, 1), ("bti,io->bto", 2), ("bhti,hio->bhto", None)])
def test_the_axis_on_which_all_outputs_are(equation, axis) -> None:
    x, w = ((4,) * 4, (4,) * 3) if "h" in equation else ((4,) * 3, (4,) * (3 if "g" in equation else 2))
    terms = seen_from(parse(equation, (len(x), len(w))), 1, w, x)
    assert terms is not None
    assert terms.channels == axis


def test_shapes_follow_where_axes_have_one_label() -> None:
    (node,) = view(build("(float[N,5] x) => (y) { y = MatMul(x, w) }", w=(5, 6)), "").nodes
    matmul = Contracts("...mk,...kn->...mn")
    assert matmul.shapes(node, [(1, None, 5), (5, 6)]) == [(1, None, 6)]
    assert matmul.shapes(node, [(1, 4, 5), (3, 5, 6)]) == [(3, 4, 6)]
    assert matmul.shapes(node, [(None, 4, 5), (3, 5, 6)]) == [(3, 4, 6)]


@pytest.mark.parametrize("equation", ["b-t-i,hid->bhtd", "bti,hid=>bhtd", "bti->b", "bti,hid,dk->btk"])
def test_what_is_no_equation_of_so_many_operands_is_declined(equation) -> None:
    with pytest.raises(Decline, match="is no equation of 2 operands"):
        parse(equation, (3, 3))
