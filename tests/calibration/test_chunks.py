"""Samples in chunks, and some of them."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.calibration.chunks import Calibration


@pytest.mark.parametrize(("count", "chunks"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3), (100, 3)])
def test_the_first_samples_are_the_chunks_that_hold_them(count, chunks) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    samples = Calibration([{"x": row} for row in x], "samples", index=[*np.arange(12).reshape(3, 4)])
    found = samples.first(count)
    assert [c["x"].tolist() for c in found.chunks] == x[:chunks].tolist()
    assert found.index is not None and len(found.index) == chunks
    assert found.samples == 4 * chunks


def test_what_fills_a_chunk_up_is_not_counted_again() -> None:
    samples = Calibration([{"x": np.zeros(4)}] * 3, "samples", new=[None, 1, None])
    assert [samples.first(count).new for count in (4, 5, 6)] == [[None], [None, 1], [None, 1, None]]
    assert samples.first(5).samples == 5
