"""States that lost channels: from what the original takes and gives to what the pruned model does, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from spa_cli.graph.model import Array

# notes of what was done to a file; one that was pruned again has several, ``spa.2`` after ``spa``
NOTE = "spa"


@dataclass(frozen=True)
class Pair:
    """An input and the output that gives its state back ("" where none does); ``why``: what keeps its shape, if known.

    ``axes``: those that may lose channels.
    """

    input: str
    output: str
    axes: tuple[int, ...] = ()
    why: str = ""

    @property
    def line(self) -> str:
        """Both ends."""
        return f"'{self.input}' -> '{self.output}'" if self.output else f"'{self.input}'"


@dataclass(frozen=True)
class State:
    """An input that carries a state, and the output that gives it back; both keep the same ``kept`` indices.

    ``kept``: by axis; ``sizes``: of those axes before.
    """

    input: str
    output: str
    kept: Mapping[int, tuple[int, ...]]
    sizes: Mapping[int, int]

    @property
    def names(self) -> tuple[str, str]:
        """Both ends."""
        return self.input, self.output

    def narrowed(self, value: Array) -> Array:
        """What the pruned model has of a state of the original."""
        for axis, kept in self.kept.items():
            if value.shape[axis] == self.sizes[axis]:
                value = np.take(value, kept, axis)
        return value

    def widened(self, value: Array) -> Array:
        """A state of the pruned model as one of the original, zero where channels are gone."""
        for axis, kept in self.kept.items():
            wide = np.zeros((*value.shape[:axis], self.sizes[axis], *value.shape[axis + 1 :]), value.dtype)
            np.moveaxis(wide, axis, 0)[list(kept)] = np.moveaxis(value, axis, 0)
            value = wide
        return value

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The pruned model's shape of what has ``shape`` in the original."""
        return tuple(len(self.kept[a]) if a in self.kept else d for a, d in enumerate(shape))

    def after(self, later: State | None) -> State:
        """Both together: ``later`` is another cut, of what is left."""
        if later is None:
            return self
        kept, sizes = dict(later.kept), dict(later.sizes)
        for axis, first in self.kept.items():
            kept[axis] = tuple(first[i] for i in later.kept[axis]) if axis in later.kept else tuple(first)
            sizes[axis] = self.sizes[axis]
        return State(self.input, self.output, kept, sizes)

    def to_json(self) -> dict[str, Any]:
        """For plans, notes and reports."""
        axes = {str(a): {"of": self.sizes[a], "kept": list(kept)} for a, kept in sorted(self.kept.items())}
        return {"input": self.input, "output": self.output, "axes": axes}

    @staticmethod
    def of_json(found: Any) -> State | None:
        """What ``to_json`` made; ``None`` for anything else."""
        try:
            axes = {int(axis): (int(said["of"]), tuple(map(int, said["kept"]))) for axis, said in found["axes"].items()}
            kept, sizes = {a: k for a, (_, k) in axes.items()}, {a: n for a, (n, _) in axes.items()}
            names = found["input"], found["output"]
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        fits = all(kept[a] and min(kept[a]) >= 0 and max(kept[a]) < n for a, n in sizes.items())
        return State(*names, kept, sizes) if fits and all(isinstance(name, str) for name in names) else None


def narrowed(feeds: Mapping[str, Any], states: Iterable[State]) -> dict[str, Any]:
    """What the pruned model takes instead of what the original does."""
    found = dict(feeds)
    for state in states:
        if state.input in found:
            found[state.input] = state.narrowed(np.asarray(found[state.input]))
    return found


def narrowed_shapes(shapes: Mapping[str, tuple[int, ...]], states: Iterable[State]) -> dict[str, tuple[int, ...]]:
    """The shapes of inputs of the pruned model, out of those of the original's."""
    found = dict(shapes)
    for state in states:
        if state.input in found:
            found[state.input] = state.shape(found[state.input])
    return found


def noted(pruned: onnx.ModelProto, original: onnx.ModelProto) -> tuple[State, ...]:
    """What the notes in a file say of states that were cut since the original; what can't be says nothing."""
    before = {p.key for p in original.metadata_props}
    found = dict[tuple[str, str], State]()
    keys = (p for p in pruned.metadata_props if p.key not in before and p.key.split(".")[0] == NOTE)
    for entry in sorted(keys, key=lambda p: (len(p.key), p.key)):
        try:
            note = json.loads(entry.value)
            states = [State.of_json(one) for one in note.get("states", [])]
        except (ValueError, AttributeError, TypeError, RecursionError):
            continue
        for state in filter(None, states):
            earlier = found.get(state.names)
            found[state.names] = state if earlier is None else earlier.after(state)
    return tuple(state for state in found.values() if _is_of(state, original.graph))


def _is_of(state: State, graph: onnx.GraphProto) -> bool:
    """Whether a model has both ends, and so many channels there."""
    (before,), (after,) = (
        [v.type.tensor_type.shape.dim for v in infos if v.name == name][:1] or [None]
        for infos, name in ((graph.input, state.input), (graph.output, state.output))
    )
    if before is None or after is None:
        return False
    return all(axis < min(len(before), len(after)) and before[axis].dim_value == n for axis, n in state.sizes.items())
