"""Which of many samples are read, so that a folder of a million images needs no more memory than one of a thousand."""

from __future__ import annotations

from spa_cli.memory import more_than_fits, working_memory
from spa_cli.progress import LOG


def spread(total: int, limit: int | None, bytes_each: int = 1) -> list[int]:
    """Positions of at most ``limit`` of ``total`` samples, evenly spread: folders are sorted by class.

    Fewer, with a warning, where they would not fit in memory.
    """
    wanted = total if limit is None else min(total, limit)
    count = min(wanted, max(1, working_memory() // max(bytes_each, 1)))
    if count < wanted:
        LOG.warning("%s", too_many(count, wanted))
    return [position * total // count for position in range(count)]


def too_many(count: int, wanted: int | str) -> str:
    """What is said where only ``count`` samples fit."""
    return (
        f"{count} of {wanted} samples are read: all would take {more_than_fits()}; "
        "give fewer or smaller ones to choose them yourself"
    )


def part(count: int, total: int, kind: str) -> str:
    """What was read, in words: "512 of 50000 images", "256 images"."""
    return f"{total} {kind}" if count == total else f"{count} of {total} {kind}"
