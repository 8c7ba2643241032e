"""How a pruned network is trained, one option each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spa_cli.errors import OptionError
from spa_cli.options import words
from spa_cli.options.declare import TRAINING, made, option, read_all
from spa_cli.options.limits import check_count

# seconds, where nothing is said
DEFAULT = 300.0
WAYS = ("crop", "flip", "mix")


@dataclass(frozen=True)
class Training:
    """Named as on the command line. ``minutes`` and ``epochs`` exclude each other. Raises UsageError out of range."""

    minutes: float | None = option(None, "Minutes to train, all in all (default: 5).", TRAINING)
    epochs: int | None = option(None, "Passes over the samples instead: the same file every time.", TRAINING)
    lr: float | str = option(
        "auto", "How much of a weight a step changes: 0.003; auto: found by a short test.", TRAINING, read=words.rate
    )
    augment: str = option(
        "auto", "What is made of samples: crop, flip, mix (with commas), none; auto: what suits the inputs.", TRAINING
    )
    labels: bool = option(False, "Learn the labels beside the samples, too.", TRAINING)
    samples: int = option(10_000, "Samples to train on at most.", TRAINING)
    batch: int | None = option(None, "Samples a step (default: 8 to 64, by how many there are).", TRAINING)
    trainable: tuple[str, ...] = option((), "Train only weights with these names.", TRAINING, read=words.texts)

    def __post_init__(self) -> None:
        read_all(self)
        if self.minutes is not None and self.epochs is not None:
            raise OptionError("--minutes and --epochs both say how long to train; give one of them")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise OptionError(f"--minutes has to be a positive number, not {self.minutes:g}")
        for name in ("epochs", "batch", "samples"):
            value = getattr(self, name)
            if value is not None:
                check_count(f"--{name}", value)
        if self.lr != "auto" and not 0 < float(self.lr) < 1:
            raise OptionError(f"--lr has to lie between 0 and 1, not {float(self.lr):g}")
        self.ways  # noqa: B018 - raises UsageError for what is none

    @staticmethod
    def of(given: Mapping[str, Any]) -> Training:
        """Out of keyword arguments, whose types are wider than those of the fields."""
        return made(Training, given)

    @property
    def ways(self) -> tuple[str, ...] | None:
        """What is done to samples, ``None``: what suits them."""
        if self.augment == "auto":
            return None
        asked = [part.strip() for part in self.augment.split(",")] if self.augment != "none" else []
        for part in asked:
            if part not in WAYS:
                raise OptionError(f"--augment '{part}' is nothing that is done; use {', '.join(WAYS)}, none or auto")
        return tuple(asked)

    @property
    def seconds(self) -> float | None:
        """``None`` where passes are counted."""
        if self.epochs is not None:
            return None
        return DEFAULT if self.minutes is None else 60 * self.minutes
