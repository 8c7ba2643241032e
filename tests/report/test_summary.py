"""What is said of a result, in words."""

from __future__ import annotations

import pytest

from spa_cli.report.summary import repaired

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
