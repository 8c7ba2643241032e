"""A pruned model run in the original's place: what its states lost is left out of inputs, and zero in outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import onnxruntime as ort

from spa_cli.graph.source import Source
from spa_cli.graph.states import State, narrowed

Plain = Source | onnx.ModelProto | str


@dataclass(frozen=True, eq=False)
class Widened:
    """A model of which ``states`` lost channels, to be run as if they had not."""

    model: Plain
    states: tuple[State, ...]

    @property
    def session(self) -> type[ort.InferenceSession]:
        """The kind of its sessions."""
        states = self.states

        class Session(ort.InferenceSession):  # type: ignore[misc]
            def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:
                """As onnxruntime's, of what the original takes and gives."""
                names = output_names or [o.name for o in self.get_outputs()]
                found = super().run(output_names, narrowed(input_feed, states), run_options)
                wide = {state.output: state.widened for state in states}
                return [wide[n](v) if n in wide else v for n, v in zip(names, found, strict=True)]

        return Session


def widened(model: Plain, states: Sequence[State]) -> Plain | Widened:
    """What can be run in the original's place."""
    return Widened(model, tuple(states)) if states else model


def as_is(model: Plain | Widened) -> Plain:
    """The model itself, and what it takes and gives by itself."""
    return model.model if isinstance(model, Widened) else model
