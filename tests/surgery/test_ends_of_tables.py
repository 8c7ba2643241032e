"""Samples as long as a table of positions: the model takes no longer ones, sizes are told from shorter ones."""

from __future__ import annotations

import numpy as np

import spa_cli
from tests.builders import build, doubts


def test_heads_go_though_no_input_may_be_longer(tmp_path) -> None:
    model = build(
        """(float[N,T,8] x) => (float[N,T,4] y) {
          given = Shape(x)  long = Slice(given, one, two)  part = Slice(table, zero, long)
          h = Add(x, part)  q = MatMul(h, wq)
          s = Shape(h)  n = Gather(s, first)  t = Gather(s, second)
          n1 = Unsqueeze(n, zero)  t1 = Unsqueeze(t, zero)
          size = Concat<axis=0>(n1, t1, heads, dims)
          r = Reshape(q, size)  p = Transpose<perm=[0,2,1,3]>(r)  e = Softmax(p)
          b = Transpose<perm=[0,2,1,3]>(e)  j = Reshape(b, joined)  y = MatMul(j, wo)
        }""",
        table=(6, 8), wq=(8, 12), wo=(12, 4), first=0, second=1, zero=[0], one=[1], two=[2],
        heads=[4], dims=[3], joined=[0, 0, -1],
    )  # fmt: skip
    np.save(tmp_path / "calib.npy", np.random.default_rng(0).standard_normal((16, 6, 8)).astype(np.float32))
    result = spa_cli.prune(model, ratio=0.5, calib=tmp_path / "calib.npy", method="l1", round_to=1)
    assert not doubts(result)
    assert [(g.channels, kept) for g, kept in result.cut_groups] == [(4, 2)]
