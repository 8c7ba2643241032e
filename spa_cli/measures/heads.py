"""Detectors: which of a model's outputs say together what is where, and how."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from spa_cli.graph.model import Array, Graph
from spa_cli.measures import kinds
from spa_cli.measures.boxes import CORNERS, decoded_form, grid_of
from spa_cli.measures.layout import PROBABILITY, SIGMOID, SOFTMAX, Channels, Finished, Layout, Level
from spa_cli.measures.origin import LINEAR, Part
from spa_cli.measures.recognise import Recogniser

# positions that are fewer are no places on a picture
_FEWEST = 8
# how often a class is the likeliest where most of what is seen is nothing
_NOTHING = 0.5
# what outputs of places are called
_PLACE = re.compile("box|loc|reg")


class Heads:
    """``inputs``: shapes of what the model was given; ``reference``: what it gave."""

    def __init__(
        self, graph: Graph, recogniser: Recogniser, inputs: Mapping[str, tuple[int, ...]], reference: list[Any]
    ) -> None:
        self._graph, self._recogniser, self._values = graph, recogniser, reference
        self._picture = next(filter(None, map(_picture, inputs.values())), None)
        self._samples = max((shape[0] for shape in inputs.values() if shape), default=1)

    def find(self, among: set[int], forced: bool) -> Layout | None:
        """What the outputs ``among`` (by index) say; ``forced``: the user says that they are detections."""
        if self._picture is None and not forced:
            return None
        tensors = {
            at: v
            for at, v in enumerate(self._values)
            if at in among and isinstance(v, np.ndarray) and v.dtype.kind in "fiu"
        }
        return (
            self._finished(tensors)
            or self._one_tensor(tensors)
            or self._pairs(tensors, 1 if forced else _FEWEST)
            or next(filter(None, (self._single(at, v, forced) for at, v in tensors.items())), None)
        )

    def _layout(self, outputs: tuple[int, ...], why: str, levels: tuple[Level, ...]) -> Layout:
        return Layout(outputs, why, levels, picture=self._picture or (0, 0))

    # -- boxes that the model chose itself ----------------------------------------------------------------------------

    def _finished(self, tensors: Mapping[int, Array]) -> Layout | None:
        """(..., 4) boxes, with a score and a class each in two other outputs."""
        for at, box in tensors.items():
            if box.ndim not in (2, 3) or box.shape[-1] != 4 or box.dtype.kind != "f":
                continue
            beside = [
                k
                for k, v in tensors.items()
                if k != at and v.size * 4 == box.size and v.shape[: box.ndim - 1] == box.shape[:-1]
            ]
            labels = [k for k in beside if _whole(tensors[k])]
            scores = [k for k in beside if k not in labels[:1] and _shares(tensors[k])]
            if len(labels) >= 1 and len(scores) == 1:
                own = (at, scores[0], labels[0])
                # how many of them count
                counts = [
                    k
                    for k, v in tensors.items()
                    if k not in own and v.dtype.kind in "iu" and v.ndim <= 2 and v.size <= self._samples
                ]
                return Layout((*own, *counts), "boxes, each with a score and a class", finished=Finished(0, 1, 2))
        return None

    def _one_tensor(self, tensors: Mapping[int, Array]) -> Layout | None:
        """(n, boxes, 6): corners, score, class; (boxes, 7): sample, corners, class, score."""
        for at, value in tensors.items():
            if value.dtype.kind != "f" or not value.size:
                continue
            rows = value.reshape(-1, value.shape[-1]) if value.ndim else value
            if value.ndim == 3 and value.shape[-1] == 6:
                columns = (0, 4, 5)
            elif value.ndim == 2 and value.shape[-1] == 7 and _whole(rows[:, 0]) and rows[:, 0].max() < self._samples:
                columns = (1, 6, 5)
            else:
                continue
            first, score, label = columns
            if (
                _whole(rows[:, label])
                and _shares(rows[:, score])
                and rows[:, score].max() > 0
                and decoded_form(rows[rows[:, score] > 0, first : first + 4]) == CORNERS
            ):
                return Layout((at,), "rows of corners, score and class", finished=Finished(0, 0, 0, columns))
        return None

    # -- boxes and scores of every place ------------------------------------------------------------------------------

    def _pairs(self, tensors: Mapping[int, Array], fewest: int) -> Layout | None:
        """Boxes in one output, scores of the same positions in others; several such where there are several sizes."""
        rows: dict[int, list[int]] = {}
        for at, value in tensors.items():
            if value.dtype.kind == "f" and value.ndim in (2, 3):
                positions = self._positions(value)
                if positions >= fewest:
                    rows.setdefault(positions, []).append(at)
        own: list[int] = []
        levels: list[Level] = []
        for outputs in rows.values():
            level = self._level(outputs, tensors, len(own))
            if level is not None:
                levels.append(level[1])
                own += level[0]
        if not own:
            return None
        anchors = " at each position" if any(one.raw for one in levels) else ""
        names = ", ".join(f"'{self._graph.outputs[k]}'" for k in own)
        return self._layout(tuple(own), f"boxes and scores{anchors} in {names}", tuple(levels))

    def _positions(self, value: Array) -> int:
        """Of one sample; 0 where it has no such axis."""
        if value.ndim == 3:
            return int(value.shape[1])
        return len(value) // self._samples if not len(value) % self._samples else 0

    def _level(self, outputs: list[int], tensors: Mapping[int, Array], offset: int) -> tuple[list[int], Level] | None:
        widths = {at: tensors[at].shape[-1] for at in outputs}
        places = self._four([at for at, width in widths.items() if width == 4])
        # with landmarks behind
        places = places or [at for at, width in widths.items() if width > 4 and not width % 2 and 1 in widths.values()]
        places = places or [at for at, width in widths.items() if width > 4 and not width % 2 and self._raw(at)]
        if len(places) != 1:
            return None
        box = places[0]
        others = [at for at in outputs if at != box]
        likely = [at for at in others if _shares(tensors[at])]
        scores = likely or ([at for at in others if len(others) == 1])
        classes = [at for at in scores if widths[at] > 1] or scores[:1]
        if len(classes) != 1:
            return None
        own = [box, classes[0], *(at for at in scores if widths[at] == 1 and at != classes[0])]
        form, background = self._form(tensors[classes[0]], bool(likely))
        level = Level(
            Channels(offset, stop=4),
            Channels(offset + 1),
            self._raw(box),
            form,
            tuple(Channels(offset + 2 + k) for k in range(len(own) - 2)),
            background,
        )
        return own, level

    def _four(self, outputs: list[int]) -> list[int]:
        """Of outputs of four numbers those that are boxes: scores of four classes add up to 1, or have another name."""
        if len(outputs) < 2:
            return outputs
        left = [at for at in outputs if not _exclusive(self._values[at])]
        return left if len(left) == 1 else [at for at in left if _PLACE.search(self._graph.outputs[at].lower())]

    def _raw(self, at: int) -> bool:
        return all(p.op in LINEAR and p.straight for p in self._recogniser.made(at, -1))

    def _form(self, scores: Array, likely: bool) -> tuple[str, int | None]:
        """How scores become probabilities, and which class is that of nothing."""
        if scores.shape[-1] == 1:
            return (PROBABILITY if likely else SIGMOID), None
        said, times = np.unique(scores.argmax(-1), return_counts=True)
        background = int(said[times.argmax()]) if times.max() > _NOTHING * times.sum() else None
        if likely:
            return PROBABILITY, background if _exclusive(scores) else None
        return (SIGMOID, None) if background is None else (SOFTMAX, background)

    # -- one tensor with boxes, objectness and classes beside each other -----------------------------------------------

    def _single(self, at: int, value: Array, forced: bool) -> Layout | None:
        """(n, positions, 4 + 1 + C) or (n, 4 + C, positions), or the other way round."""
        if value.ndim != 3 or value.dtype.kind != "f":
            return None
        for axis in sorted((-1, -2), key=lambda k: value.shape[k]):
            made, size, positions = self._recogniser.made(at, axis), value.shape[axis], value.shape[-3 - axis]
            if size < 5 or (positions <= size and not forced):
                continue
            rest = _behind(made)
            grid = grid_of(positions, *(self._picture or (0, 0)))
            if rest is None or (grid is None and not forced):
                if not forced:
                    continue
                rest = None
            single = rest is not None and len(rest) > 1 and rest[0].size == 1
            several = grid is not None and grid[1] > 1
            object_first = size > 5 and (single or several or (grid is None and axis == -1))
            first = 5 if object_first else 4
            sure = bool(value.size) and _shares(np.moveaxis(value, axis, -1)[..., 4:])
            raw = all(p.op in LINEAR and p.straight for p in _before(made)) if rest is not None else False
            level = Level(
                Channels(0, axis, 0, 4),
                Channels(0, axis, first, None),
                raw,
                PROBABILITY if sure else SIGMOID,
                (Channels(0, axis, 4, 5),) if object_first else (),
            )
            told = "objectness and classes" if object_first else "classes"
            return self._layout((at,), f"boxes, {told} at {positions} positions, along axis {axis}", (level,))
        return None


def layouts(heads: Heads, asked: Mapping[int, str], outputs: int) -> Iterator[Layout]:
    """What is said to be detections, else what looks like it, of so many outputs."""
    said = {at for at, kind in asked.items() if kind == kinds.DETECTIONS}
    free = {at for at in range(outputs) if at not in asked}
    for among, forced in ((said, True), (free, False)):
        if among and (found := heads.find(among, forced)) is not None:
            yield found


def _picture(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Height and width of an input that is one."""
    if len(shape) != 4:
        return None
    if shape[1] in (1, 3, 4) and shape[1] < min(shape[2:]):
        return shape[2], shape[3]
    return (shape[1], shape[2]) if shape[3] in (1, 3, 4) else None


def _before(made: list[Part]) -> list[Part]:
    """Those of the first four channels."""
    found, at = [], 0
    for part in made:
        if at >= 4:
            break
        found.append(part)
        at += part.size or 0
    return found


def _behind(made: list[Part]) -> list[Part] | None:
    """What follows four channels of boxes; ``None`` where it is not a sigmoid that nothing was made of, they are."""
    first = _before(made)
    rest = made[len(first) :]
    decided = [p.op == "Sigmoid" and p.straight for p in rest]
    if sum(p.size or 0 for p in first) != 4 or not rest or not all(decided):
        return None
    return None if any(p.op == "Sigmoid" and p.straight for p in first) else rest


def _exclusive(scores: Array) -> bool:
    """Whether they are probabilities of which one is taken."""
    return bool(scores.size and scores.min() >= 0 and np.allclose(scores.astype(float).sum(-1), 1, atol=1e-3))


def _whole(value: Array) -> bool:
    """Classes, as integers or as what looks like it."""
    return bool(value.dtype.kind in "iu" or (value.size and (value == np.round(value)).all() and value.min() >= -1))


def _shares(value: Array) -> bool:
    """Numbers between 0 and 1 (-1 where there is none)."""
    return bool(
        value.dtype.kind == "f"
        and value.size
        and value.min() >= -1
        and value.max() <= 1
        and (value[value < 0] == -1).all()
    )
