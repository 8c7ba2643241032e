"""How far outputs moved, over as many runs as the samples take."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from onnxruntime import InferenceSession

from spa_cli.errors import UsageError, VerificationError
from spa_cli.graph.model import Array
from spa_cli.runtime.said import said
from spa_cli.runtime.session import Feeds, floats, run, tensors

# what is fed, and how many of its last samples count (``None``: all)
Run: TypeAlias = tuple[Feeds, int | None]
# outputs that moved more than this are those of another network; where less, they also have to disagree
MOVED, SHIFTED, KAPPA = 0.7, 0.4, 0.5


@dataclass(frozen=True)
class Drift:
    """How far outputs moved: relative L2 over all float outputs (NaN if there is none to compare), and how often the
    arg-max and integer outputs agree (``None`` if there are none).

    ``kappa``: by how much they agree more often than by chance, relative to the most there can be (Cohen 1960): a
    network that says "background" everywhere agrees often, and by chance. It is the most that so many samples allow.
    """

    relative_l2: float
    agreement: float | None
    kappa: float | None = None

    @property
    def resembles(self) -> bool:
        """Whether the outputs are still those of the same network, more or less."""
        far = math.isnan(self.relative_l2) or self.relative_l2 > SHIFTED
        disagrees = self.kappa is not None and self.kappa < KAPPA
        return not (self.relative_l2 > MOVED or (far and disagrees))

    def warning(self, on: str, where: str = "") -> str:
        """What to say of outputs that no longer resemble the original's, measured ``on`` these samples.

        ``where``: what is known of where it comes from.
        """
        moved = "" if math.isnan(self.relative_l2) else f"drift {self.relative_l2:.2f}"
        agreed = "" if self.agreement is None else f"arg-max agrees on {self.agreement:.0%}"
        found = ", ".join(filter(None, (moved, agreed)))
        return (
            f"the outputs no longer resemble the original's ({found}, on {on}{where and '; ' + where}); ask for less, "
            "give more samples with --calib, or train the result"
        )


class Agreement:
    """How often two sets of classes are the same, and would be by chance."""

    def __init__(self) -> None:
        self._same = self._total = 0
        self._counts: tuple[Counter[Any], Counter[Any]] = (Counter(), Counter())

    def add(self, a: Array, b: Array) -> None:
        """Classes of the same things."""
        self._same += int((a == b).sum())
        self._total += a.size
        for counts, each in zip(self._counts, (a, b), strict=True):
            counts.update(dict(zip(*(v.tolist() for v in np.unique(each, return_counts=True)), strict=True)))

    @property
    def share(self) -> float:
        """Of all, 0 to 1."""
        return self._same / self._total

    @property
    def kappa(self) -> float:
        """1 if all agree, 0 if no more do than by chance; at the upper end of a 95 % interval (Wilson 1927)."""
        first, second = self._counts
        chance = sum(count * second[said] for said, count in first.items()) / self._total**2
        n, p, z = self._total, self.share, 1.96
        most = (p + z**2 / (2 * n) + z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)
        return min(1.0, (most - chance) / (1 - chance)) if chance < 1 else 1.0


class Moved:
    """Adds runs up to one ``Drift``: distances as sums of squares, agreement output by output."""

    def __init__(self) -> None:
        self._norm = self._distance = 0.0
        self._compared = False
        self._agreed: dict[int, Agreement] = defaultdict(Agreement)

    def add(self, before: list[Any], after: list[Any]) -> None:
        """Outputs of one run of both; those whose size the data decide count where it is the same."""
        for at, (one, other) in enumerate(zip(before, after, strict=True)):
            for a, b in zip(floats([one]), floats([other]), strict=False):
                if a.shape == b.shape:
                    self._add_floats(at, a, b)
            for a, b in zip(tensors([one]), tensors([other]), strict=False):
                if _discrete(a) and _discrete(b) and a.shape == b.shape and a.size:
                    self._agreed[at].add(a, b)

    def _add_floats(self, at: int, a: Array, b: Array) -> None:
        # of an output that is no number to begin with nothing can be said
        self._compared |= not a.size or not bool(np.isnan(a).all())
        with np.errstate(invalid="ignore"):
            # a mask of -inf that is one still has not moved; what is no number was none to be kept
            moved = np.where((a == b) | np.isnan(a), 0.0, a - b)
        self._norm += float(np.square(a[np.isfinite(a)]).sum())
        self._distance += float(np.square(np.where(np.isnan(moved), np.inf, moved)).sum())
        if a.ndim >= 2 and a.shape[-1] > 1 and a.size:
            self._agreed[at].add(a.argmax(-1), b.argmax(-1))

    @property
    def drift(self) -> Drift:
        """Of all runs so far."""
        moved = float(np.sqrt(self._distance)) / max(float(np.sqrt(self._norm)), 1e-12)
        found = list(self._agreed.values())
        return Drift(
            moved if self._compared else float("nan"),
            float(np.mean([a.share for a in found])) if found else None,
            float(np.mean([a.kappa for a in found])) if found else None,
        )


def drift(before: list[Any], after: list[Any]) -> Drift:
    """Distance between the outputs of one run of each."""
    moved = Moved()
    moved.add(before, after)
    return moved.drift


def drift_over(before: InferenceSession, after: InferenceSession, runs: Iterable[Run]) -> Drift:
    """Two models side by side, run after run.

    Raises UsageError for samples that the first does not run on, VerificationError where only the second doesn't.
    """
    moved = Moved()
    for feeds, new in runs:
        try:
            right = run(before, feeds)
        except Exception as error:
            raise UsageError(
                f"the original does not run on one of the samples ({said(error)}); give samples that it takes"
            ) from error
        try:
            found = run(after, feeds)
        except Exception as error:
            raise VerificationError(
                f"the result does not run on a sample that the original runs on ({said(error)}); please report it"
            ) from error
        moved.add(counted(right, feeds, new), counted(found, feeds, new))
    return moved.drift


def counted(outputs: list[Any], feeds: Feeds, new: int | None) -> list[Any]:
    """Outputs of the last ``new`` samples: those of a run that was filled up have been seen before."""
    if new is None:
        return outputs
    size = max((len(v) for v in feeds.values() if np.ndim(v)), default=1)
    return [o[-new:] if isinstance(o, np.ndarray) and o.ndim and len(o) == size else o for o in outputs]


def _discrete(output: Any) -> bool:
    """Classes, tokens, names."""
    return isinstance(output, np.ndarray) and output.dtype.kind in "iubOUS"
