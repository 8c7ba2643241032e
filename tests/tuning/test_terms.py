"""What a pruned network is to give as the original does: scores as logits, numbers, what stands inside."""

from __future__ import annotations

import onnx
import pytest

from spa_cli.measures.classes import PROBABILITIES
from spa_cli.runtime.session import open_session, run
from spa_cli.tuning.terms import VALUES, Term, terms_of
from tests.builders import build
from tests.tuning.nets import TEXT, analysed, images, net

SOFT = TEXT.replace("=> (logits)", "=> (p1)").replace("(f, w2, b2)", "(f, w2, b2)  p1 = Softmax(logits)")
RESIDUAL = """(float[N,3,6,6] x) => (y) {
  a = Conv<pads=[1,1,1,1]>(x, wa)  b = Relu(a)  c = Conv<pads=[1,1,1,1]>(b, wb)
  s = Add(a, c)  t = Relu(s)  y = Conv(t, wc)
}"""


def _terms(original: onnx.ModelProto, small: onnx.ModelProto) -> list[Term]:
    (source, before), (_, after) = analysed(original), analysed(small)
    return terms_of(before, after, run(open_session(source), {"x": images(4)}))


def _classifier(text: str, width: int) -> onnx.ModelProto:
    return build(text, w1=(width, 3, 3, 3), b1=(width,), w2=(4, width), b2=(4,))


def _residual(stream: int) -> onnx.ModelProto:
    return build(RESIDUAL, wa=(stream, 3, 3, 3), wb=(stream, stream, 3, 3), wc=(2, stream, 1, 1))


def test_logits_are_compared_as_numbers() -> None:
    assert _terms(net(8), net(3)) == [Term("logits", VALUES, -1)]


def test_of_the_number_of_a_class_what_it_is_chosen_by() -> None:
    chosen = TEXT.replace("=> (logits)", "=> (int64[N,1] k)").replace(
        "(f, w2, b2)", "(f, w2, b2)  k = ArgMax<axis=1>(logits)"
    )
    assert _terms(_classifier(chosen, 8), _classifier(chosen, 3)) == [Term("logits", VALUES, -1)]


def test_of_probabilities_the_logits_that_they_are_made_of() -> None:
    assert _terms(_classifier(SOFT, 8), _classifier(SOFT, 3)) == [Term("logits", VALUES, -1)]


def test_probabilities_themselves_where_logits_have_other_names() -> None:
    other = _classifier(SOFT.replace("logits", "scores"), 3)
    assert _terms(_classifier(SOFT, 8), other) == [Term("p1", PROBABILITIES, -1)]


@pytest.mark.parametrize(("stream", "shared"), [(8, True), (6, False)])
def test_sums_that_kept_their_shape_count_too(stream, shared) -> None:
    found = _terms(_residual(8), _residual(stream))
    assert Term("y", VALUES, -3) in found
    assert (Term("s", VALUES, -3, inner=True) in found) == shared
