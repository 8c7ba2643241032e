"""States that lost channels: from what the original takes and gives to what the pruned model does, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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

    ``kept``: by axis; ``sizes``: of those axes before. ``along``: of an axis that keeps different indices for each
    index of another (dimensions of each head), that other one; ``kept`` are as many tuples then as it had indices.
    """

    input: str
    output: str
    kept: Mapping[int, tuple[Any, ...]]
    sizes: Mapping[int, int]
    along: Mapping[int, int] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, str]:
        """Both ends."""
        return self.input, self.output

    def narrowed(self, value: Array) -> Array:
        """What the pruned model has of a state of the original."""
        # while the other axis still has all of its indices
        for axis in sorted(self.kept, key=lambda axis: axis not in self.along):
            if value.shape[axis] == self.sizes[axis]:
                value = np.take_along_axis(value, self._index(axis, value.ndim), axis)
        return value

    def widened(self, value: Array) -> Array:
        """A state of the pruned model as one of the original, zero where channels are gone."""
        for axis in sorted(self.kept, key=lambda axis: axis in self.along):
            wide = np.zeros((*value.shape[:axis], self.sizes[axis], *value.shape[axis + 1 :]), value.dtype)
            np.put_along_axis(wide, self._index(axis, value.ndim), value, axis)
            value = wide
        return value

    def _index(self, axis: int, rank: int) -> Array:
        """The indices that stay, in as many axes as a value has."""
        kept, shape = np.array(self.kept[axis]), [1] * rank
        shape[axis] = kept.shape[-1]
        if axis not in self.along:
            return kept.reshape(shape)
        other = self.along[axis]
        shape[other] = len(kept)
        return (kept if other < axis else kept.T).reshape(shape)

    def _left(self, axis: int) -> int:
        return int(np.shape(self.kept[axis])[-1])

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The pruned model's shape of what has ``shape`` in the original."""
        return tuple(self._left(a) if a in self.kept else d for a, d in enumerate(shape))

    def after(self, later: State | None) -> State:
        """Both together: ``later`` is another cut, of what is left."""
        if later is None:
            return self
        along = {**later.along, **self.along}
        kept = {axis: self._then(later, axis, along.get(axis)) for axis in {**self.kept, **later.kept}}
        return State(self.input, self.output, kept, {**later.sizes, **self.sizes}, along)

    def _then(self, later: State, axis: int, other: int | None) -> tuple[Any, ...]:
        """What is left of an axis after both; ``other``: the axis for each of whose indices it is told."""
        own, then = self.kept.get(axis), later.kept.get(axis)
        if other is None:
            return (then if own is None else own if then is None else tuple(own[i] for i in then)) or ()
        # the indices of the other axis that the later cut still found
        count = len(own) if own is not None and axis in self.along else self.sizes.get(other, len(then or ()))
        there = self.kept.get(other, tuple(range(count)))
        found = []
        for at in range(count):
            first = (own[at] if axis in self.along else own) if own is not None else tuple(range(later.sizes[axis]))
            place = there.index(at) if at in there else 0
            second = range(len(first)) if then is None else then[place] if axis in later.along else then
            found.append(tuple(first[i] for i in second))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """For plans, notes and reports."""
        axes = {
            str(a): {"of": self.sizes[a], "kept": np.array(kept).tolist()}
            | ({"along": self.along[a]} if a in self.along else {})
            for a, kept in sorted(self.kept.items())
        }
        return {"input": self.input, "output": self.output, "axes": axes}

    @staticmethod
    def of_json(found: Any) -> State | None:
        """What ``to_json`` made; ``None`` for anything else."""
        try:
            axes = {int(axis): said for axis, said in found["axes"].items()}
            along = {a: int(said["along"]) for a, said in axes.items() if "along" in said}
            arrays = {a: np.array(said["kept"]).astype(np.int64) for a, said in axes.items()}
            sizes, names = {a: int(said["of"]) for a, said in axes.items()}, (found["input"], found["output"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return None
        fits = all(
            k.size and k.ndim == 1 + (a in along) and k.min() >= 0 and k.max() < sizes[a] for a, k in arrays.items()
        )
        if (
            not fits
            or any(a == b or b < 0 for a, b in along.items())
            or not all(isinstance(name, str) for name in names)
        ):
            return None
        kept = {a: tuple(map(tuple, k.tolist())) if a in along else tuple(k.tolist()) for a, k in arrays.items()}
        return State(*names, kept, sizes, along)


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
    told = [(b, len(state.kept[a])) for a, b in state.along.items()]
    fits = all(axis < min(len(before), len(after)) and before[axis].dim_value == n for axis, n in state.sizes.items())
    return fits and all(b < len(before) and before[b].dim_value in (0, n) for b, n in told)
