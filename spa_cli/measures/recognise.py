"""Which measure an output gets, and what tells: the user, its type, what made it, its values, its shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from spa_cli.graph.known import Shapes
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.measures import kinds
from spa_cli.measures.classes import LOGARITHMS, LOGITS, PROBABILITIES, Classes
from spa_cli.measures.embeddings import Embeddings
from spa_cli.measures.judged import Measure
from spa_cli.measures.labels import Labels
from spa_cli.measures.masks import Masks
from spa_cli.measures.origin import LINEAR, NORMALISED, UNIT, Part, parts
from spa_cli.measures.tokens import Tokens
from spa_cli.measures.values import Values

# vectors shorter than this are no embeddings
_SHORTEST = 8
# how near sums of probabilities, and lengths of vectors, come to 1
_NEAR = 1e-3
# values of a mask that are near 0 or 1
_DECIDED, _SURE = 0.9, 0.1
_NORMS = frozenset({"LayerNormalization", "SkipLayerNormalization", "RMSNormalization", NORMALISED})
_INTEGERS = frozenset({TensorProto.INT32, TensorProto.INT64})


@dataclass(frozen=True)
class Taken:
    """``outputs``: by index; ``make``: a measure of them, ``None`` for the generic one.

    ``form``: of scores of classes what they are, "" of anything else; ``axis``: theirs, from the end. ``ids``: of
    scores of tokens the input whose integers are looked up among as many.
    """

    outputs: tuple[int, ...]
    kind: str
    why: str
    make: Callable[[], Measure] | None = None
    form: str = ""
    axis: int = -1
    ids: str = ""


class Recogniser:
    """Of one model; ``reference``: what it gave in its first run."""

    def __init__(self, graph: Graph, shapes: Shapes, reference: list[Any]) -> None:
        self._graph, self._shapes, self._reference = graph, shapes, reference

    def output(self, at: int, wanted: str = "") -> Taken:
        """What one output is taken for; ``wanted``: the kind that the user says it is."""
        value = self._reference[at]
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiubOUS":
            return Taken((at,), kinds.ANY, "it is no tensor of numbers")
        if wanted:
            return self._as_wanted(at, value, wanted)
        if value.dtype.kind != "f":
            return Taken((at,), kinds.LABELS, "integers or names", Labels)
        ways = (self._classes, self._tokens, self._vectors, self._decisions, self._named)
        return next((found for way in ways if (found := way(at, value)) is not None), self._numbers(at, value))

    def made(self, at: int, axis: int) -> list[Part]:
        """What made an output along an axis, counted from the end; a single number has none."""
        rank = np.ndim(self._reference[at])
        return parts(self._graph, self._shapes, self._graph.outputs[at], rank + axis if rank else None)

    # -- one kind after the other -------------------------------------------------------------------------------------

    def _classes(self, at: int, value: Array) -> Taken | None:
        for axis in _axes(value):
            made = self.made(at, axis)
            node = made[0].node if len(made) == 1 and made[0].straight else None
            if node is None or node.op not in ("Softmax", "LogSoftmax") or value.shape[axis] < 2:
                continue
            if made[0].axis is not None and made[0].axis == self._over(node):
                form = PROBABILITIES if node.op == "Softmax" else LOGARITHMS
                return self._said(at, axis, form, f"{node.op} over axis {axis}")
        for axis in _axes(value)[:2]:
            seen = _distribution(value, axis)
            if seen is not None:
                return self._said(at, axis, seen, f"{seen} along axis {axis} add up to 1")
        return None

    def _over(self, node: Node) -> int | None:
        """The axis that a softmax runs over, from the start; ``None`` if it is several."""
        shape = self._shapes.shape.get(node.outputs[0])
        if shape is None:
            return None
        axis = node.attr("axis", -1 if node.version >= 13 else 1) % max(len(shape), 1)
        # before opset 13 all axes from there on are one
        return axis if node.version >= 13 or all(d == 1 for d in shape[axis + 1 :]) else None

    def _said(self, at: int, axis: int, form: str, why: str) -> Taken:
        value = self._reference[at]
        if axis == -1 and value.ndim == 3 and (ids := self._vocabulary(value.shape[-1])):
            why = f"{why}, as many as tokens that go in"
            return Taken((at,), kinds.TOKENS, why, lambda: Tokens(form), form, ids=ids)
        return Taken((at,), kinds.CLASSES, why, lambda: Classes(axis, form), form, axis)

    def _tokens(self, at: int, value: Array) -> Taken | None:
        if value.ndim != 3 or (name := self._vocabulary(value.shape[-1])) == "":
            return None
        why = f"scores of {value.shape[-1]} tokens, as many as '{name}' is looked up among"
        return Taken((at,), kinds.TOKENS, why, lambda: Tokens(LOGITS), LOGITS, ids=name)

    def _vocabulary(self, size: int) -> str:
        """The input whose integers are looked up in a table of so many rows, "" if there is none."""
        for node in self._graph.all_nodes:
            if node.op != "Gather" or node.attr("axis", 0):
                continue
            table = self._shapes.shape.get(node.inputs[0])
            if table is None or len(table) != 2 or table[0] != size:
                continue
            name = node.inputs[1]
            while (maker := self._graph.producers.get(name)) is not None and maker.op in _MOVES:
                name = maker.inputs[0]
            info = self._graph.inputs.get(name)
            if info is not None and info.type.tensor_type.elem_type in _INTEGERS:
                return name
        return ""

    def _vectors(self, at: int, value: Array) -> Taken | None:
        if value.ndim < 2 or value.shape[-1] < _SHORTEST:
            return None
        made = self.made(at, -1)
        last = (self._shapes.shape.get(made[0].node.outputs[0]) or ()) if made[0].node is not None else ()
        if len(made) == 1 and made[0].axis == len(last) - 1 and made[0].op in (*_NORMS, UNIT):
            how = "divided by their length" if made[0].op == UNIT else "normalised"
            return Taken((at,), kinds.EMBEDDINGS, f"vectors that are {how}", Embeddings)
        if value.ndim == 2 and value.size and np.allclose(np.linalg.norm(value.astype(float), axis=-1), 1, atol=_NEAR):
            return Taken((at,), kinds.EMBEDDINGS, "vectors of length 1", Embeddings)
        return None

    def _decisions(self, at: int, value: Array) -> Taken | None:
        """A sigmoid that decides; one that gives shades of a picture does not."""
        made = self.made(at, -1)
        if not all(p.op == "Sigmoid" and p.straight for p in made) or not value.size:
            return None
        sure = np.minimum(value, 1 - value) < _SURE
        if value.ndim > 2 and sure.mean() < _DECIDED:
            return None
        return Taken((at,), kinds.MASKS, "Sigmoid: yes or no", Masks)

    def _named(self, at: int, value: Array) -> Taken | None:
        """Exporters call scores of classes logits; nothing else is called so."""
        name = self._graph.outputs[at]
        if "logit" not in name.lower() or value.ndim not in (2, 3) or value.shape[-1] < 2:
            return None
        return Taken((at,), kinds.CLASSES, f"it is called '{name}'", lambda: Classes(-1, LOGITS), LOGITS)

    def _numbers(self, at: int, value: Array) -> Taken:
        axis = -1 if value.ndim < 4 else self._channels(at, value)
        made = self.made(at, axis) if value.ndim else []
        groups = _groups(made, value.shape[axis]) if made else []
        ops = sorted({p.op for p in made})
        if len(groups) > 1:
            return Taken((at,), kinds.VALUES, f"parts made by {' and '.join(ops)}", lambda: Values(axis, groups))
        if value.ndim >= 4:
            return Taken((at,), kinds.VALUES, f"numbers at every place, made by {ops[0]}", lambda: Values(axis))
        if value.ndim < 2 or value.shape[-1] == 1:
            return Taken((at,), kinds.VALUES, f"one number each, made by {ops[0] if ops else 'a constant'}", Values)
        if ops == ["Tanh"] or (ops == ["Sigmoid"]):
            return Taken((at,), kinds.VALUES, f"numbers within bounds, made by {ops[0]}", Values)
        made_by = " and ".join(ops)
        return Taken((at,), kinds.ANY, f"nothing tells what numbers of {made_by} stand for; --as does")

    def _channels(self, at: int, value: Array) -> int:
        """Which axis of a picture its channels are on: the one that a layer made, else the shorter of the usual two."""
        for axis in (1 - value.ndim, -1):
            made = self.made(at, axis)
            if len(made) > 1 or (made[0].op in LINEAR and made[0].axis == (1 if "Conv" in made[0].op else None)):
                return axis
        return 1 - value.ndim if value.shape[1] <= value.shape[-1] else -1

    # -- as the user says ---------------------------------------------------------------------------------------------

    def _as_wanted(self, at: int, value: Array, kind: str) -> Taken:
        why = f"--as {kind}"
        if kind in (kinds.ANY, kinds.LABELS) or value.dtype.kind != "f":
            make = None if kind == kinds.ANY else Labels
            return Taken((at,), kind if make is None else kinds.LABELS, why, make)
        if kind == kinds.CLASSES:
            found = self._classes(at, value)
            if found is not None:
                return Taken((at,), kind, f"{why}; {found.why}", found.make)
            axis = -1 if value.ndim < 4 else 1 - value.ndim
            return Taken((at,), kind, f"{why}; scores along axis {axis}", lambda: Classes(axis, LOGITS))
        if kind == kinds.TOKENS:
            form = _distribution(value, -1) or LOGITS
            ids = self._vocabulary(value.shape[-1]) if value.ndim == 3 else ""
            return Taken((at,), kind, why, lambda: Tokens(form), form, ids=ids)
        if kind == kinds.MASKS:
            limit = 0.5 if value.size and value.min() >= 0 and value.max() <= 1 else 0.0
            return Taken((at,), kind, f"{why}; yes above {limit:g}", lambda: Masks(limit))
        if kind == kinds.EMBEDDINGS:
            return Taken((at,), kind, why, Embeddings)
        found = self._numbers(at, value)
        return Taken((at,), kinds.VALUES, why, found.make or Values)


_MOVES = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Transpose", "Where"})


def _axes(value: Array) -> list[int]:
    """Those that classes may be on: the last, the second, any other but the first."""
    rank = value.ndim
    if rank < 2:
        return []
    return list(dict.fromkeys([-1, 1 - rank, *range(2 - rank, -1)]))


def _distribution(value: Array, axis: int) -> str | None:
    """Whether values along an axis are probabilities, or their logarithms, which they are of at least two classes."""
    if value.ndim < 2 or not value.size or value.shape[axis] < 2 or not np.isfinite(value).all():
        return None
    values = value.astype(np.float64)
    if values.min() >= 0 and np.allclose(values.sum(axis), 1, atol=_NEAR):
        return PROBABILITIES
    if values.max() <= 0 and np.allclose(np.exp(values).sum(axis), 1, atol=_NEAR):
        return LOGARITHMS
    return None


def _groups(made: list[Part], size: int) -> list[tuple[str, int]]:
    """Stretches that differ in what made them, by name and end; none where their sizes are not known."""
    found: list[tuple[str, int]] = []
    at = 0
    for number, part in enumerate(made):
        if part.size is None:
            return []
        at += part.size
        last = made[number - 1] if number else None
        if last is not None and (last.op, last.straight) == (part.op, part.straight):
            found.pop()
        start = found[-1][1] if found else 0
        found.append((f"{start}..{at - 1}, {part.op}", at))
    return found if at == size else []
