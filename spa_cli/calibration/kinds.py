"""What an input of a model is taken for, and what is known of it beforehand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from spa_cli.calibration.noises import Draw
from spa_cli.calibration.ranges import Preparation, Range, preparation
from spa_cli.graph.model import Array, Graph
from spa_cli.runtime.inputs import input_dims, input_dtype


@dataclass(frozen=True, eq=False)
class Kind:
    """What an input is taken for. ``about``: in words; ``draw``: so many samples of a shape.

    Pictures are drawn as pixels from 0 to 255: ``ranges`` brings them into the model's, the samples in turn; none as
    long as nothing tells it. ``channels``: their axis, samples counted. ``doubtful``: nothing says that it is so.
    ``noise``: it has nothing in common with what the model was trained on.
    """

    about: str
    draw: Draw
    ranges: tuple[Range, ...] = ()
    channels: int = 0
    doubtful: bool = False
    noise: bool = False

    @property
    def told(self) -> str:
        """``about``, and whether it was guessed."""
        return f"{self.about}, guessed" if self.doubtful else self.about

    @property
    def undecided(self) -> bool:
        """Whether these are pictures of an unknown range."""
        return self.channels > 0 and not self.ranges

    def finished(self, drawn: Array, turns: Array) -> Array:
        """What the model takes of drawn samples; ``turns``: which range each is given."""
        if not self.ranges:
            return drawn
        found = np.empty(drawn.shape, np.float32)
        for turn, span in enumerate(self.ranges):
            own = turns % len(self.ranges) == turn
            found[own] = span.of(drawn[own], self.channels)
        return found


@dataclass(frozen=True, eq=False)
class Input:
    """An input as the rules see it. ``shape``: of one sample; ``others``: those of the other inputs.

    ``shapes``: of all inputs, with their samples, where they are known.
    """

    graph: Graph
    name: str
    shape: tuple[int, ...]
    others: tuple[tuple[int, ...], ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    prepared: Preparation = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prepared", preparation(self.graph, self.name))

    @property
    def element(self) -> int:
        """ONNX's type."""
        return int(self.graph.inputs[self.name].type.tensor_type.elem_type)

    @property
    def floating(self) -> bool:
        """Whether it takes numbers that are not whole."""
        return np.issubdtype(input_dtype(self.element), np.floating)

    @property
    def boolean(self) -> bool:
        """Whether it takes truth values."""
        return input_dtype(self.element) is np.bool_

    @property
    def scalar(self) -> bool:
        """Whether all samples of a run share one number."""
        return input_dims(self.graph.inputs[self.name]) == []

    def named(self, pattern: str) -> bool:
        """Whether a word of the name is one of these."""
        return re.search(rf"(?<![a-z])({pattern})(?![a-z])", self.name.lower()) is not None
