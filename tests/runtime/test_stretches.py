"""Where a network parts, and what is kept there."""

from __future__ import annotations

from spa_cli.graph.view import build as view
from spa_cli.runtime.stretches import stretches
from tests.builders import build

GRAPH = view(
    build(
        """(float[N,8] x) => (y) {
          a = MatMul(x, w1)  b = Relu(a)  c = MatMul(b, w2)  d = Add(c, x)  e = MatMul(d, w3)  f = Tanh(e)
          g = MatMul(f, w4)  y = Add(g, a) }""",
        w1=(8, 16),
        w2=(16, 8),
        w3=(8, 16),
        w4=(16, 16),
    ),
    "",
)
SIZES = {name: 16 if name in "abefgy" else 8 for name in "abcdefgy"}


def size(name: str) -> int:
    return SIZES[name]


def test_they_part_where_the_least_is_kept_and_keep_what_is_read_later() -> None:
    first, second = stretches(GRAPH, [["b"], ["e"]], [0, 0], size, 1)
    # right behind b that would be kept beside a, which is read at the end; c is narrower
    assert first.kept == {"a", "c"}
    assert (second.kept, second.names) == (frozenset(), ("e",))


def test_what_is_asked_for_later_is_kept_though_nothing_reads_it() -> None:
    found = stretches(GRAPH, [["b"], ["b", "g"]], [0, 0], size, 1)
    assert "b" in found[0].kept


def test_what_requests_take_beside_their_tensors_counts() -> None:
    requests = [["a"], ["b"], ["c"]]
    assert len(stretches(GRAPH, requests, [0, 0, 0], size, 100)) == 1
    assert [part.served for part in stretches(GRAPH, requests, [80, 0, 80], size, 100)] == [(0,), (1,), (2,)]
