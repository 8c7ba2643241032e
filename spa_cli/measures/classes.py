"""Classes along an axis: how often the same one is said, and how far the distribution over them moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.measures.agreement import KAPPA, Chance
from spa_cli.measures.interval import Estimate, Floats, Tally, jackknife, share
from spa_cli.measures.judged import Found, by_sample, figure, percent

PROBABILITIES, LOGARITHMS, LOGITS = "probabilities", "log-probabilities", "logits"
# nats that a distribution may move before classes that differ are more than ties that fell otherwise
_TIES = 0.1
# nats by which, at the least, a distribution is another one: the original's classes are half as likely as they were
_MOVED = float(np.log(2))
# how often the original has to say a class, of several in a sample, for it to be what stands where nothing is
_BACKGROUND = 0.5
# the least probability: a class that is ruled out costs no more than this
_LEAST = 1e-9


def log_probabilities(values: Array, form: str) -> Floats:
    """(..., C) of whatever form as logarithms, none below ``_LEAST``; what is no number says nothing of any class."""
    values = np.asarray(values, np.float64)
    with np.errstate(all="ignore"):
        if form == PROBABILITIES:
            logs = np.log(np.clip(values, _LEAST, None))
        else:
            logs = values - values.max(-1, keepdims=True, initial=-np.inf)
        logs = logs - np.log(np.exp(logs).sum(-1, keepdims=True))
    spoilt = ~np.isfinite(values).all(-1) & ~np.isfinite(logs).all(-1)
    logs[spoilt] = np.log(_LEAST)
    return np.asarray(np.clip(logs, np.log(_LEAST), None))


class Classes:
    """``axis``: that of the classes, counted from the end; ``form``: of their scores.

    Of several things in a sample (pixels, frames) those count of which either network says more than the background, a
    class that the original says of most of them: networks that say nothing agree on nothing.
    """

    def __init__(self, axis: int, form: str, background: bool = True) -> None:
        self._axis, self._form, self._wanted = axis, form, background
        # the same and all that count, the same of all, all, nats
        self._tally, self._chance = Tally(5), Chance()
        self._background: int | None = None
        self._seen = False

    def add(self, before: list[Any], after: list[Any], samples: int) -> None:
        """One run of both."""
        a, b = (np.moveaxis(by_sample(v, samples), self._axis, -1) for v in (before[0], after[0]))
        if a.shape != b.shape or not a.size:
            return
        a, b = (v.reshape(len(v), -1, v.shape[-1]) for v in (a, b))
        self._look(a)
        rows = []
        for left, right in zip(a, b, strict=True):
            said, says = left.argmax(-1), right.argmax(-1)
            # arg-max takes what is no number for the largest
            same = (said == says) & np.isfinite(right).any(-1)
            # what is no number in the original says nothing that could be kept
            there = ~np.isnan(left).all(-1)
            said, says, same, left, right = said[there], says[there], same[there], left[there], right[there]
            counts = np.ones(len(said), bool) if self._background is None else (said != self._background) | ~same
            p, q = (log_probabilities(v, self._form) for v in (left, right))
            nats = np.clip((np.exp(p) * (p - q)).sum(-1), 0, None)
            rows.append(((same & counts).sum(), counts.sum(), same.sum(), len(said), nats.sum()))
            self._chance.add(said, np.where(same, said, np.where(said == says, -1, says)))
        self._tally.add(*np.array(rows, np.float64).T)

    def _look(self, values: Array) -> None:
        """Find the background, in what the original says first."""
        if self._seen or not self._wanted or values.shape[1] == 1:
            return
        self._seen = True
        said, times = np.unique(values.argmax(-1), return_counts=True)
        if times.max() > _BACKGROUND * times.sum():
            self._background = int(said[times.argmax()])

    @property
    def found(self) -> Found:
        """Of all runs so far."""
        same, counted, alike, every, nats = self._tally.columns
        agreement, all_of_them = share(same, counted), share(alike, every)
        if len(every) and not every.sum():
            return Found(None, "the original gives no number on these samples", {}, False)
        moved = jackknife([nats, every], lambda n, e: n / e, logarithmic=True)
        most, kappa = (self._chance.beyond(share) for share in (all_of_them.most, all_of_them.value))
        figures = {"agreement": agreement, "kl": moved, "kappa": Estimate(kappa)}
        measurable = counted.sum() > 0
        # no doubt is left where the distributions say the same as the classes
        sure = kappa < KAPPA and moved.low > _MOVED
        ruined = bool(every.sum()) and (sure or (most < KAPPA and moved.value > _TIES))
        if not measurable:
            return Found(None, "nothing but background on these samples", figures, ruined)
        beside = "" if self._background is None else f" where there is more than class {self._background}"
        text = f"arg-max agrees on {percent(agreement)}{beside}, KL {figure(moved)} nats"
        return Found(agreement, text, figures, ruined)


def of(axis: int, form: str, background: bool = True) -> Callable[[], Classes]:
    """What makes the measure."""
    return lambda: Classes(axis, form, background)
