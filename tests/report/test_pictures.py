"""Three samples as the model sees them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from spa_cli.calibration.chunks import Calibration
from spa_cli.report.page.pictures import pictures

pytest.importorskip("matplotlib")
X = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)


def _shown(*chunks: dict[str, np.ndarray]) -> int:
    drawn = pictures(Calibration(list(chunks), "5 samples"), "rgb")
    return 0 if drawn is None else drawn.svg.count("<image")


@pytest.mark.parametrize("sizes", [(5,), (1, 1, 1, 1, 1), (2, 2, 1), (1,)])
def test_three_of_them_however_many_a_model_takes_at_a_time(sizes) -> None:
    ends = np.cumsum((0, *sizes))
    chunks = [{"x": X[a:b], "scale": np.float32(1)} for a, b in itertools.pairwise(ends)]
    assert _shown(*chunks) == min(3, sum(sizes))


def test_of_several_sizes_those_of_the_first() -> None:
    assert _shown({"x": X[:1]}, {"x": X[:1, :, :6]}, {"x": X[1:2]}) == 2


def test_what_is_no_picture() -> None:
    assert _shown({"ids": np.ones((4, 7), np.int64)}) == 0
