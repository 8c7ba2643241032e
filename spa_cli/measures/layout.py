"""How the outputs of a detector say what is where: which numbers are boxes, which are scores."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.measures.interval import Floats
from spa_cli.measures.judged import by_sample

# scores are probabilities, or become such by a sigmoid each or a softmax over classes
PROBABILITY, SIGMOID, SOFTMAX = "probability", "sigmoid", "softmax"


@dataclass(frozen=True)
class Channels:
    """Some channels of one output: those from ``start`` to ``stop`` along ``axis`` (counted from the end)."""

    output: int
    axis: int = -1
    start: int = 0
    stop: int | None = None

    def of(self, outputs: list[Array], samples: int) -> Floats:
        """(samples, positions, channels)."""
        value = np.asarray(outputs[self.output], np.float64)
        rows = np.moveaxis(by_sample(value, samples), self.axis, -1)
        return rows.reshape(len(rows), -1, rows.shape[-1])[..., self.start : self.stop]


@dataclass(frozen=True)
class Level:
    """Boxes and scores of the same positions.

    ``raw``: nothing was made of the boxes' numbers yet. ``likely``: single scores that those of the classes are
    multiplied with. ``background``: the class that stands for nothing.
    """

    boxes: Channels
    scores: Channels
    raw: bool
    form: str = PROBABILITY
    likely: tuple[Channels, ...] = ()
    background: int | None = None

    def scored(self, outputs: list[Array], samples: int) -> tuple[Floats, Floats]:
        """(samples, positions) of the likeliest class at each: which it is, and how likely."""
        scores = _probable(self.scores.of(outputs, samples), self.form)
        for channel in self.likely:
            scores = scores * _probable(channel.of(outputs, samples), PROBABILITY)
        if self.background is not None:
            scores[..., self.background] = 0.0
        return scores.argmax(-1).astype(np.float64), scores.max(-1)


@dataclass(frozen=True)
class Finished:
    """Boxes that the model has chosen itself, with a score and a class each.

    ``order``: of a single tensor with all in it, where score and class stand, behind ``first`` others before the boxes.
    """

    boxes: int
    scores: int
    labels: int
    columns: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Layout:
    """``outputs``: those that it is about, by index among all of the model's. ``levels`` or ``finished`` count by their
    place in it.
    """

    outputs: tuple[int, ...]
    why: str
    levels: tuple[Level, ...] = ()
    finished: Finished | None = None
    picture: tuple[int, int] = field(default=(0, 0))


def _probable(scores: Floats, form: str) -> Floats:
    with np.errstate(all="ignore"):
        if form == SIGMOID:
            scores = 1 / (1 + np.exp(-scores))
        elif form == SOFTMAX:
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores = scores / scores.sum(-1, keepdims=True)
    return np.nan_to_num(np.clip(scores, 0, 1), nan=0.0)
