"""Stretch by stretch: what is fetched is what one run of the whole network gives."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.graph.view import build as view
from spa_cli.runtime.probe import probe
from spa_cli.runtime.session import open_session
from spa_cli.runtime.store import Store
from spa_cli.runtime.stretches import in_stretches, stretches
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


@pytest.mark.parametrize(("room", "parts"), [(1000, 1), (41, 3), (17, 4), (1, 4)])
def test_each_serves_what_fits_and_gives_what_the_whole_gives(room, parts) -> None:
    requests = [["x", "a"], ["b", "c"], ["d", "e"], ["f", "g"]]
    found = stretches(GRAPH, requests, [0] * 4, size, room)
    assert len(found) == parts
    assert sorted(i for part in found for i in part.served) == [0, 1, 2, 3]
    rng = np.random.default_rng(0)
    chunks = [{"x": rng.standard_normal((n, 8)).astype(np.float32)} for n in (3, 2)]
    names = [n for names in requests for n in names if n != "x"]
    whole = open_session(probe(GRAPH.model, names))
    for part, run in zip(found, in_stretches(GRAPH, chunks, found, Store(np.inf)), strict=True):
        for chunk, values in zip(chunks, run, strict=True):
            wanted = {n for i in part.served for n in requests[i] if n != "x"}
            assert wanted <= values.keys()
            for name in wanted:
                (expected,) = whole.run([name], chunk)
                np.testing.assert_array_equal(values[name], expected)


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
