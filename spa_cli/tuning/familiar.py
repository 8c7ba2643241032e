"""Which changes leave samples what they are to the original: a photograph may be turned round, a line of text not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.tuning.augment import CROP, FLIP, augmented
from spa_cli.tuning.batches import Feeds
from spa_cli.tuning.match import Match

# changed and unchanged sample may lie so far apart, two samples at random being one: networks of photographs see
# 0.006 to 0.14 in a flip and 0.03 to 0.26 in a crop, one of digits sees 0.39 in a flip, one that reads lines 0.5
_BORNE = 0.3
# samples that are looked at, and the fewest that tell how far two are apart
_LOOKED, _FEWEST = 64, 4


def borne(ways: tuple[str, ...], match: Match, samples: Sequence[Feeds], seed: int) -> tuple[str, ...]:
    """``ways`` without crops and flips that the original doesn't bear, or of which too few samples tell.

    ``samples``: runs of some.
    """
    # of the samples as they are, for every way the same
    plain = cache(lambda at: _summaries(match, samples[at]))
    found = []
    for way in ways:
        if way not in (CROP, FLIP) or _distance(way, match, samples, plain, np.random.default_rng(seed)) <= _BORNE:
            found.append(way)
    return tuple(found)


def _distance(
    way: str, match: Match, samples: Sequence[Feeds], known: Callable[[int], Array], rng: np.random.Generator
) -> float:
    """Squared, between what the original gives for a sample and for the changed one; of two samples at random it is
    1. Infinite where that can't be told.
    """
    plain, moved = list[Array](), list[Array]()
    for at, feeds in enumerate(samples):
        other = augmented(feeds, (way,), rng)
        changed = np.any([_differ(feeds[n], other[n]) for n in feeds], 0)
        plain.append(known(at)[changed])
        moved.append(_summaries(match, other)[changed])
        if sum(map(len, plain)) >= _LOOKED:
            break
    before, after = np.concatenate(plain), np.concatenate(moved)
    if len(before) < _FEWEST:
        return float("inf")
    apart = 2 * float(np.square(before - before.mean(0)).sum())
    return float(np.square(after - before).sum()) / apart if apart else float("inf")


def _differ(one: Array, other: Array) -> Array:
    """By sample."""
    return np.asarray((one != other).reshape(len(one), -1).any(1))


def _summaries(match: Match, feeds: Feeds) -> Array:
    """(samples, ...): what the original gives, every output's channels by their mean and their largest value, wherever
    that lies: what is seen elsewhere in an image is still seen.
    """
    axes, count = {t.tensor: t.axis for t in match.terms if not t.inner}, len(next(iter(feeds.values())))
    rows = [np.zeros((count, 0))]
    for name, value in match.seen(feeds).items():
        # of an output whose first axis is no batch nothing can be told
        if name not in axes or not value.ndim or len(value) != count:
            continue
        channels = np.moveaxis(value, axes[name], -1) if value.ndim > 1 else value[:, None]
        places = channels.reshape(len(value), -1, channels.shape[-1]).astype(np.float64)
        both = np.concatenate([places.mean(1), places.max(1)], 1)
        rows.append(both / max(float(np.sqrt(np.mean(np.square(both)))), 1e-9))
    return np.concatenate(rows, 1)
