"""How much more perplexed a pruned language model is, on the tokens that really follow where they are known.

They are known where labels lie beside the samples, and where a model reads its text from left to right: then what
follows is the next of the tokens that go in. Otherwise it is measured on what the original would say (``tokens``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spa_cli.errors import OptionError
from spa_cli.graph.model import Array
from spa_cli.measures import kinds
from spa_cli.measures.classes import log_probabilities
from spa_cli.measures.interval import Estimate, Tally, jackknife
from spa_cli.measures.judged import Judged
from spa_cli.measures.panel import Panel
from spa_cli.measures.recognise import Taken
from spa_cli.runtime.session import Feeds

RATIO = "perplexity_ratio"
# what differs by less, relative to the largest score, was only added up in another order
_SAME = 1e-4


@dataclass(frozen=True)
class Perplexity:
    """``ratio``: the pruned model's over the original's, both on the tokens that ``by`` says.

    ``before`` and ``after``: each one's own; ``None`` on what the original would say, where only the ratio is known.
    """

    ratio: Estimate
    by: str
    before: Estimate | None = None
    after: Estimate | None = None


@dataclass(frozen=True)
class Truth:
    """Where it is known what follows: at an output, by labels or by the ``ids`` that go in; ``by``: in words."""

    taken: Taken
    labelled: bool
    by: str

    @staticmethod
    def of(
        panel: Panel, feeds: Feeds, labels: Array | None, before: list[Any], runs: Callable[[Feeds], list[Any]]
    ) -> Truth | None:
        """The first output that labels are about, or that says what follows the tokens that go in; ``None``: none does.

        ``labels`` and ``before``: of the samples that count of ``feeds``. ``runs``: gives the original's outputs for
        other feeds, to see whether it looks ahead.
        """
        scores = [one for one in panel.taken if one.kind == kinds.TOKENS]
        for one in scores if labels is not None and labels.dtype.kind in "iu" else ():
            if labels is not None and labels.shape == np.shape(before[one.outputs[0]])[:2]:
                return Truth(one, True, f"labels of '{panel.names[one.outputs[0]]}'")
        for one in scores:
            if one.ids in feeds and _left_to_right(feeds, one, runs):
                return Truth(one, False, f"next tokens of '{one.ids}'")
        return None


class Following:
    """Adds up what two models make of the tokens that follow, run after run."""

    def __init__(self, truth: Truth | None) -> None:
        self._truth = truth
        # nats before, nats after, tokens
        self._tally = Tally(3)

    def add(self, feeds: Feeds, labels: Array | None, before: list[Any], after: list[Any], samples: int) -> None:
        """One run of both, of so many samples, which are the last of ``feeds``; ``labels``: theirs."""
        if self._truth is None:
            return
        one = self._truth.taken
        a, b = before[one.outputs[0]], after[one.outputs[0]]
        right = labels if self._truth.labelled else _next(feeds, one.ids, samples)
        if right is None or right.shape != a.shape[:2] or a.shape != b.shape:
            return
        rows = []
        for wanted, left, other in zip(right, a, b, strict=True):
            counts = (wanted >= 0) & (wanted < left.shape[-1])
            at = wanted[counts].astype(np.int64)[:, None]
            logs = (log_probabilities(v[counts], one.form) for v in (left, other))
            rows.append((*(-np.take_along_axis(v, at, -1).sum() for v in logs), counts.sum()))
        self._tally.add(*np.array(rows, np.float64).reshape(-1, 3).T)

    @property
    def perplexity(self) -> Perplexity | None:
        """``None`` where no token is known to follow."""
        before, after, count = self._tally.columns
        if self._truth is None or not count.sum():
            return None
        own = [_exp(jackknife([nats, count], lambda n, e: n / e)) for nats in (before, after)]
        return Perplexity(_exp(jackknife([after - before, count], lambda n, e: n / e)), self._truth.by, *own)


def perplexity(judged: Sequence[Judged], following: Following) -> Perplexity | None:
    """On the tokens that follow, else on what the original would say at the output where that is worst; ``None``
    without scores of tokens.
    """
    if (found := following.perplexity) is not None:
        return found
    ratios = [one.figures[RATIO] for one in judged if RATIO in one.figures]
    worst = max(ratios, key=lambda one: one.value, default=None)
    return None if worst is None else Perplexity(worst, "what the original would say")


def require_tokens(panel: Panel) -> None:
    """Raises OptionError where no output is scores of tokens."""
    if all(one.kind != kinds.TOKENS for one in panel.taken):
        raise OptionError(
            "--max-perplexity-ratio can't be measured: no output is taken for scores of tokens; use --min-agreement, "
            "or say which is with --as OUTPUT=tokens"
        )


def _next(feeds: Feeds, ids: str, samples: int) -> Array | None:
    """(samples, length): the token after each position, -1 after the last and where either is masked."""
    given = np.asarray(feeds[ids])
    if given.ndim != 2:
        return None
    truth = np.full(given.shape, -1, np.int64)
    truth[:, :-1] = given[:, 1:]
    for name, mask in feeds.items():
        if "mask" in name.lower() and np.shape(mask) == given.shape:
            there = np.asarray(mask) != 0
            truth[:, :-1][~(there[:, 1:] & there[:, :-1])] = -1
    return truth[-samples:]


def _left_to_right(feeds: Feeds, one: Taken, runs: Callable[[Feeds], list[Any]]) -> bool:
    """Whether other tokens in the second half change what is said there, and nothing before: it is run to see."""
    ids = np.array(feeds[one.ids])
    if ids.ndim != 2 or ids.shape[1] < 2:
        return False
    known, half = np.unique(ids), ids.shape[1] // 2
    ids[:, half:] = np.where(ids[:, half:] == known[0], known[-1], known[0])
    try:
        # the same session, so that nothing but the token differs
        as_is, other = (np.asarray(runs(f)[one.outputs[0]], np.float64) for f in (feeds, {**feeds, one.ids: ids}))
    except Exception:  # noqa: BLE001 - onnxruntime's kinds are its own: of such a model it is not known
        return False
    with np.errstate(invalid="ignore"):
        moved, largest = np.abs(as_is - other), np.abs(as_is[np.isfinite(as_is)]).max(initial=0.0)
    return bool((moved[:, :half] <= _SAME * largest).all() and moved[:, half:].any())


def _exp(estimate: Estimate) -> Estimate:
    with np.errstate(over="ignore"):
        return Estimate(*(float(np.exp(v)) for v in (estimate.value, estimate.low, estimate.high)))
