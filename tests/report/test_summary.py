"""What is said of a result, in words."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from spa_cli.report.summary import latency_left, repaired

NOTHING = {"layers": 22, "refitted": 22, "refined": 0, "recalibrated": 0, "kept_sliced": {}}


@pytest.mark.parametrize(
    ("done", "said"),
    [
        ({}, ["22 of 22 layers refitted"]),
        ({"layers": 1, "refitted": 1}, ["1 of 1 layer refitted"]),
        (
            {"refitted": 16, "refined": 5, "kept_sliced": {"a": "too few samples"}, "recalibrated": 1},
            [
                "16 of 22 layers refitted (5 of them refined for the next layer)",
                "1 kept as cut (too few samples)",
                "5 had nothing to make up for",
                "1 layer or norm recalibrated",
            ],
        ),
    ],
)
def test_numbers_of_layers_add_up(done, said) -> None:
    assert repaired({**NOTHING, **done}) == said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([(None, 1, 0.8, 0.82)], "of the original's latency 0.80 (1 sample at a time, all threads)"),
        (
            [(3, 4, 0.8, 0.82), (1, 4, 0.7, 0.7)],
            "of the original's latency 0.80 (4 samples at a time, 3 threads), 0.70 on one thread",
        ),
        (
            [(1, 1, 0.11, 0.7)],
            "of the original's latency 0.11, 0.70 by the fastest runs (1 sample at a time, one thread)",
        ),
        (
            [(None, 1, 0.5, 0.5), (None, 1, 1.4, 1.41, "tidied original"), (None, 8, 0.6, 0.6)],
            "of the original's latency 0.50 (1 sample at a time, all threads), 0.60 for 8 samples at a time; "
            "1.40 of the tidied original's",
        ),
    ],
)
def test_latency_is_told_of_each_setting_and_by_what(settings, said) -> None:
    names = ("threads", "batch", "left", "quiet_left", "beside")
    report = [dict(zip(names, (*one, "original")[:5], strict=True)) for one in settings]
    out = Console(file=io.StringIO(), width=200)
    latency_left(out, report)
    assert out.file.getvalue().strip() == said
