"""Numbers and names as people read them."""

from __future__ import annotations

import pytest

from spa_cli.text import plural, shortened


def test_one_and_several() -> None:
    assert [plural(n, "sample") for n in (0, 1, 2)] == ["0 samples", "1 sample", "2 samples"]
    assert [plural(n, "axis", "axes") for n in (1, 2)] == ["1 axis", "2 axes"]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["short", "a/very/long/name/indeed"], ["short", "a/very../indeed"]),
        # four weights that differ in the middle
        (
            [f"network/functional_1/depthwise_{n}/depthwise/kernel:0" for n in range(4)],
            [f"..{n}/de..ernel:0" for n in range(4)],
        ),
        (["a/long/layers.0/weight", "a/long/layers.1/weight"], ["..0/weight", "..1/weight"]),
        (["the/same/name/of/it", "the/same/name/of/it"], ["the/sa..e/of/it"] * 2),
    ],
)
def test_names_that_are_shortened_do_not_look_alike(names, shown) -> None:
    found = shortened(names, 15)
    assert found == shown
    assert max(map(len, found)) <= 15
    assert len(set(found)) == len(set(names))
