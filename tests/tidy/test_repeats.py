"""Constants that are stored more than once."""

import spa_cli
from tests.builders import build
from tests.tidy.same import tidy, weights

TEXT = """(float[N,4] x) => (y) {
  a = Reshape(x, p)
  b = MatMul(a, wa)
  c = Reshape(b, q)
  k = Constant<value_ints=[-1, 4]>()
  d = Reshape(c, k)
  e = Add(d, ba)
  f = MatMul(e, wb)
  y = Add(f, bb)
}"""


def test_sizes_are_stored_once_and_weights_stay_apart() -> None:
    given = {"p": [-1, 4], "q": [-1, 4], "wa": (4, 4), "ba": (4,)}
    model = build(TEXT, **given, wb=(4, 4), bb=(4,))
    for one, other in (("wa", "wb"), ("ba", "bb")):
        tensors = {t.name: t for t in model.graph.initializer}
        tensors[other].raw_data = tensors[one].raw_data
    small = tidy(model, ["repeats", "unused"])
    assert weights(small) == {"p", "wa", "wb", "ba", "bb"}
    assert [n.input[1] for n in small.graph.node if n.op_type == "Reshape"] == ["p", "p", "p"]


def test_a_shared_size_is_cut_where_it_has_to_be() -> None:
    """The cut is of one of its readers: the other keeps its own."""
    text = """(float[N,4] x) => (y) {
      a = MatMul(x, wa)
      r = Reshape(a, p)
      b = MatMul(r, wb)
      s = Reshape(b, q)
      y = MatMul(s, wc)
    }"""
    model = build(text, p=[-1, 8], q=[-1, 8], wa=(4, 8), wb=(8, 8), wc=(8, 3))
    for only in ("wa", "wb"):
        result = spa_cli.prune(model, ratio=0.5, method="l1", tidy=True, only=only, round_to=1)
        assert result.plan.about["tidy"] == {"repeats": 1}
