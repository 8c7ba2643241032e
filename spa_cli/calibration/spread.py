"""Which of many samples are read, so that a folder of a million images needs no more memory than one of a thousand."""

from __future__ import annotations

# what all samples together may take
BYTES = 2_000_000_000


def spread(total: int, limit: int | None, bytes_each: int = 1) -> list[int]:
    """Positions of at most ``limit`` of ``total`` samples, evenly spread: folders are sorted by class."""
    most = max(1, BYTES // max(bytes_each, 1))
    count = min(total, most if limit is None else limit, most)
    return [position * total // count for position in range(count)]


def part(count: int, total: int, kind: str) -> str:
    """What was read, in words: "512 of 50000 images", "256 images"."""
    return f"{total} {kind}" if count == total else f"{count} of {total} {kind}"
