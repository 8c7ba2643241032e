"""How far outputs moved, over as many runs as the samples take."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from onnxruntime import InferenceSession

from spa_cli.calibration.chunks import samples_in
from spa_cli.errors import UsageError, VerificationError
from spa_cli.graph.model import Array
from spa_cli.measures.agreement import KAPPA, Agreement
from spa_cli.measures.interval import Estimate, Tally, share
from spa_cli.measures.judged import Judged, apart, by_sample
from spa_cli.measures.panel import Panel
from spa_cli.measures.perplexity import Perplexity
from spa_cli.measures.values import MOVED, relative
from spa_cli.runtime.said import said
from spa_cli.runtime.session import Feeds, floats, run, tensors

# what is fed, and how many of its last samples count (``None``: all)
Run: TypeAlias = tuple[Feeds, int | None]
# outputs of which nothing is known and that moved less than ``MOVED``, but more than this, also have to disagree
SHIFTED = 0.4


@dataclass(frozen=True)
class Drift:
    """How far outputs moved: relative L2 over all float outputs (NaN if there is none to compare), and how much of what
    they say is kept (``None`` where no output says anything that can be the same).

    ``agreement``: that of the output that keeps least, in the measure that fits it (``measures``): of detections the
    share found again, of classes and tokens the arg-max, of masks the overlap, of embeddings the cosine beyond that of
    other samples. Where nothing tells what any output is, the mean of their arg-max agreement. ``kappa``: by how much
    that is more often than by chance, relative to the most there can be (Cohen 1960): a network that says "background"
    everywhere agrees often, and by chance. It is the most that so many samples allow.

    ``interval`` and ``agreed``: 95 % of each, over samples, of which there are ``samples``. ``outputs``: each in its
    own measure. ``odd``: how far those moved that their own measure does not decide on; ``None`` if there is no other.
    ``perplexity``: of language models.
    """

    relative_l2: float
    agreement: float | None
    kappa: float | None = None
    interval: Estimate | None = None
    agreed: Estimate | None = None
    outputs: tuple[Judged, ...] = ()
    odd: float | None = None
    samples: int = 0
    perplexity: Perplexity | None = None

    @property
    def resembles(self) -> bool:
        """Whether the outputs are still those of the same network, more or less."""
        if any(one.ruined for one in self.outputs) or math.isinf(self.relative_l2):
            return False
        moved = self.relative_l2 if self.odd is None else self.odd
        far = math.isnan(moved) or moved > SHIFTED
        disagrees = self.kappa is not None and self.kappa < KAPPA
        return not (moved > MOVED or (far and disagrees))

    @property
    def kept(self) -> dict[str, float]:
        """The agreement of every output that has one, by its name."""
        return {
            ", ".join(one.outputs): one.agreement.value
            for one in self.outputs
            if one.agreement is not None and not math.isnan(one.agreement.value)
        }

    def warning(self, on: str, where: str = "") -> str:
        """What to say of outputs that no longer resemble the original's, measured ``on`` these samples.

        ``where``: what is known of where it comes from.
        """
        worst = [f"'{', '.join(one.outputs)}': {one.text}" for one in self.outputs if one.ruined]
        moved = "" if math.isnan(self.relative_l2) else f"drift {self.relative_l2:.2f}"
        agreed = "" if self.agreement is None or worst else f"arg-max agrees on {self.agreement:.0%}"
        found = ", ".join(filter(None, (moved, *worst[:1], agreed)))
        return (
            f"the outputs no longer resemble the original's ({found}, on {on}{where and '; ' + where}); ask for less, "
            "give more samples with --calib, or train the result"
        )


# of models that were not run
NOTHING_COMPARED = Drift(math.nan, None)


class Moved:
    """Adds runs up to one ``Drift``: distances as sums of squares, agreement (if ``agreeing``) output by output."""

    def __init__(self, panel: Panel = Panel(), agreeing: bool = True) -> None:
        self._agreeing = agreeing
        self._bench, self._names, self._without = panel.begin(), panel.names, panel.without
        # squares of how far each sample moved and of its length, by output: (outputs, 2, samples) of every run
        self._squares: list[Array] = []
        self._compared: set[int] = set()
        self._agreed: dict[int, Agreement] = defaultdict(Agreement)
        self._shares: dict[int, Tally] = defaultdict(lambda: Tally(2))
        self._samples = 0

    def add(self, before: list[Any], after: list[Any], samples: int = 1) -> None:
        """Outputs of one run of both, of so many samples; where the data decide their size, those of the same."""
        self._samples += samples
        self._bench.add(before, after, samples)
        squares = []
        for at, (one, other) in enumerate(zip(before, after, strict=True)):
            plain = self._agreeing and (not self._names or at in self._bench.plain)
            found = np.zeros((2, samples))
            if at in self._without:
                squares.append(found)
                continue
            for a, b in zip(floats([one]), floats([other]), strict=False):
                if a.shape == b.shape:
                    # of an output that is no number to begin with nothing can be said
                    self._compared |= set() if a.size and np.isnan(a).all() else {at}
                    found = _added(found, _squares(a, b, samples))
                    if plain and a.ndim >= 2 and a.shape[-1] > 1 and a.size:
                        self._same(at, a.argmax(-1), b.argmax(-1), samples)
            for a, b in zip(tensors([one]), tensors([other]), strict=False):
                if plain and _discrete(a) and _discrete(b) and a.shape == b.shape and a.size:
                    self._same(at, a, b, samples)
            squares.append(found)
        if any(s.shape[1] != samples for s in squares):
            # what is not of one sample is of all
            squares = [s.sum(1, keepdims=True) for s in squares]
        self._squares.append(np.stack(squares))

    def _same(self, at: int, a: Array, b: Array, samples: int) -> None:
        self._agreed[at].add(a, b)
        same = by_sample(np.asarray(a == b, bool), samples)
        same = same.reshape(len(same), -1)
        self._shares[at].add(same.sum(1), np.full(len(same), same.shape[1]))

    def _relative(self, outputs: set[int]) -> Estimate:
        """How far these moved; NaN where nothing can be compared."""
        compared = sorted(outputs & self._compared)
        if not compared:
            return Estimate(math.nan)
        distance, norm = np.concatenate(self._squares, axis=2)[compared].sum(0)
        return relative(distance, norm)

    @property
    def drift(self) -> Drift:
        """Of all runs so far."""
        every = set(range(len(self._squares[0]))) if self._squares else set()
        moved = self._relative(every)
        shares = {at: share(*tally.columns) for at, tally in self._shares.items()}
        judged = self._bench.judged
        known = [one.agreement for one in judged if one.agreement is not None]
        agreed = min(known, key=lambda one: one.value) if known else _mean([*shares.values()])
        decided = {self._names.index(name) for one in judged if one.decided for name in one.outputs}
        plain = list(self._agreed.values())
        return Drift(
            moved.value,
            None if agreed is None else agreed.value,
            float(np.mean([a.kappa for a in plain])) if plain else None,
            moved,
            agreed,
            (*judged, *self._bench.unjudged(shares)),
            self._relative(every - decided).value if judged else None,
            self._samples,
        )


def _squares(a: Array, b: Array, samples: int) -> Array:
    """(2, samples), or (2, 1) where it is not by sample: of the distance, and of the length."""
    rows = [by_sample(np.square(v), samples) for v in apart(a, b)]
    return np.stack([r.reshape(len(r), -1).sum(1) for r in rows])


def _added(a: Array, b: Array) -> Array:
    return a + b if a.shape == b.shape else a.sum(1, keepdims=True) + b.sum(1, keepdims=True)


def _mean(found: list[Estimate]) -> Estimate | None:
    """Of several outputs of which nothing is known."""
    return found[0] if len(found) == 1 else Estimate(float(np.mean([e.value for e in found]))) if found else None


def drift(before: list[Any], after: list[Any]) -> Drift:
    """Distance between the outputs of one run of each."""
    moved = Moved()
    moved.add(before, after)
    return moved.drift


def side_by_side(
    before: InferenceSession, after: InferenceSession, runs: Iterable[Run]
) -> Iterator[tuple[list[Any], list[Any], int]]:
    """What two models give, run after run: the outputs that count of each, and of how many samples they are.

    Raises UsageError for samples that the first does not run on, VerificationError where only the second doesn't.
    """
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
        yield counted(right, feeds, new), counted(found, feeds, new), samples_in(feeds) if new is None else new


def drift_over(
    before: InferenceSession,
    after: InferenceSession,
    runs: Iterable[Run],
    panel: Panel = Panel(),
    agreeing: bool = True,
) -> Drift:
    """Two models side by side, run after run; raises what ``side_by_side`` raises."""
    moved = Moved(panel, agreeing)
    for right, found, samples in side_by_side(before, after, runs):
        moved.add(right, found, samples)
    return moved.drift


def counted(outputs: list[Any], feeds: Feeds, new: int | None) -> list[Any]:
    """Outputs of the last ``new`` samples: those of a run that was filled up have been seen before."""
    if new is None:
        return outputs
    size = samples_in(feeds)
    return [o[-new:] if isinstance(o, np.ndarray) and o.ndim and len(o) == size else o for o in outputs]


def _discrete(output: Any) -> bool:
    """Classes, tokens, names."""
    return isinstance(output, np.ndarray) and output.dtype.kind in "iubOUS"
