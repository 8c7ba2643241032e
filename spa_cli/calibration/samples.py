"""Samples of the user, one array per input of the model, and the labels that lie beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spa_cli.errors import UsageError
from spa_cli.graph.model import Array, Graph
from spa_cli.memory import more_than_fits, working_memory
from spa_cli.options import SampleSource as SampleSource
from spa_cli.progress import LOG
from spa_cli.text import plural

# how many are held back to judge on, where nothing else asks for more
JUDGES = 64
# training looks at them again and again, and would find what suits a few
JUDGES_OF_TRAINING = 256
LABELS = ("labels", "label", "y", "targets")


@dataclass(frozen=True, eq=False)
class Samples:
    """``data``: (n, ...) per input. ``about``: where they are from, for a message.

    ``found``: labels as they were found, (n, ...), ``None`` if there are none, or what is wrong with them.
    """

    data: dict[str, Array]
    about: str
    found: Array | UsageError | None = None

    @property
    def count(self) -> int:
        """How many samples there are."""
        return min(len(array) for array in self.data.values())

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one sample per input."""
        return {name: np.shape(array)[1:] for name, array in self.data.items()}

    @property
    def labels(self) -> Array | None:
        """(n, ...), ``None`` if there are none.

        Raises UsageError for labels that can't be used: only here, since samples are good for much without labels.
        """
        if isinstance(self.found, UsageError):
            raise self.found
        if self.found is None:
            return None
        if self.found.dtype.kind not in "fiub" or (self.found.dtype.kind == "f" and not np.isfinite(self.found).all()):
            raise UsageError(f"the labels in '{self.about}' are not all finite numbers; give class indices or values")
        if len(self.found) != self.count:
            raise UsageError(
                f"'{self.about}' holds {plural(len(self.found), 'label')} for {plural(self.count, 'sample')}; give one "
                "label a sample"
            )
        return self.found


def label_name(names: Mapping[str, Any] | Sequence[str], graph: Graph) -> str | None:
    """Which of the names is that of labels: "labels" ("label", "y", "targets") that is no input of the graph."""
    return next((name for name in LABELS if name in names and name not in graph.inputs), None)


def joined(parts: Sequence[Array | UsageError | None], whose: Sequence[str], where: str) -> Array | UsageError | None:
    """Labels of several parts (files, batches, lines) one after the other, or what is wrong with them.

    ``whose``: what to call each part in a message.
    """
    for part in parts:
        if isinstance(part, UsageError):
            return part
    found = [np.atleast_1d(part) for part in parts if part is not None and not isinstance(part, UsageError)]
    if not found:
        return None
    if len(found) < len(parts):
        lacking = next(name for name, part in zip(whose, parts, strict=True) if part is None)
        return UsageError(f"{lacking} has no labels, others in '{where}' have; give all of them some, or none")
    try:
        return np.concatenate(found)
    except ValueError as error:
        return UsageError(f"the labels in '{where}' don't fit together: {error}; give each sample as many")


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
    """What was read, in words: "512 of 50000 images", "1 image"; ``kind`` ends in s."""
    return plural(total, kind.removesuffix("s")) if count == total else f"{count} of {total} {kind}"
