"""What was found of an output, in the measure that fits it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.measures.interval import Estimate, ends
from spa_cli.measures.kinds import VALUES

# an interval over half of all there is says nothing
_WIDE = 0.5


@dataclass(frozen=True)
class Judged:
    """``outputs``: their names; ``kind``: what they were taken for, ``why``: and what tells.

    ``agreement``: from 0 (nothing is kept) to 1, what ``--min-agreement`` is about; ``None``: the kind has none, or it
    can't be measured on these samples. ``text``: what is found, for people; ``figures``: all of it by name. ``ruined``:
    whether it is that of another network.
    """

    outputs: tuple[str, ...]
    kind: str
    why: str
    agreement: Estimate | None
    text: str
    figures: dict[str, Estimate] = field(default_factory=dict)
    ruined: bool = False

    @property
    def decided(self) -> bool:
        """Whether enough was seen to tell that it is not ruined (or is)."""
        if self.ruined or (self.agreement is None and self.figures and self.kind == VALUES):
            return True
        return self.agreement is not None and self.agreement.high - self.agreement.low < _WIDE


@dataclass(frozen=True)
class Found:
    """What a measure found; see ``Judged``."""

    agreement: Estimate | None
    text: str
    figures: dict[str, Estimate]
    ruined: bool


class Measure(Protocol):
    """Adds up what two networks give, run by run."""

    def add(self, before: list[Any], after: list[Any], samples: int) -> None:
        """One run of both: the outputs that it is about, of so many samples."""
        ...

    @property
    def found(self) -> Found:
        """Of all runs so far."""
        ...


def by_sample(value: Array, samples: int) -> Array:
    """(samples, ...) with one axis more than ``value``; (1, ...) where no axis is that of samples.

    They are along axis 0, there may be several rows of each, or along axis 1 (recurrent networks).
    """
    if samples > 1 and value.ndim and len(value) and not len(value) % samples:
        return value.reshape(samples, len(value) // samples, *value.shape[1:])
    if samples > 1 and value.ndim > 1 and value.shape[1] == samples:
        return np.moveaxis(value, 1, 0)[:, None]
    return value[None]


def apart(a: Array, b: Array) -> tuple[Array, Array]:
    """How far each number moved, and what was there.

    A mask of -inf that is one still has not moved, what is no number was none to be kept, and what became none is
    infinitely far.
    """
    with np.errstate(invalid="ignore"):
        off = a - b
        if np.isfinite(off).all():
            # then all is finite, and nothing else has to be made of it, which for large outputs takes long
            return off, a
        off = np.where((a == b) | np.isnan(a), 0.0, off)
    return np.where(np.isnan(off), np.inf, off), np.where(np.isfinite(a), a, 0.0)


def percent(estimate: Estimate) -> str:
    """A share with its interval."""
    if math.isnan(estimate.value):
        return "-"
    return f"{estimate.value:.1%}{between(estimate, lambda v: f'{100 * v:.3g}')}"


def between(estimate: Estimate, show: Callable[[float], str]) -> str:
    """The interval, in brackets; "" if there is none."""
    return "" if math.isnan(estimate.low) else ends(estimate.low, estimate.high, show)


def figure(estimate: Estimate) -> str:
    """A number with its interval."""
    return f"{estimate.value:.3g}{between(estimate, lambda v: f'{v:.3g}')}"
