"""Detections: which of the original's boxes the pruned model finds again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.measures import boxes
from spa_cli.measures.interval import Estimate, Floats, Tally, jackknife, share
from spa_cli.measures.judged import Found, by_sample, percent
from spa_cli.measures.layout import Finished, Layout, Level
from spa_cli.text import plural

# what counts as a box, as a box found again, and as the same box said twice
SCORE, FOUND, SAME = 0.25, 0.5, 0.5
# boxes of a sample that are looked at
_MOST = 300
# of what one or the other finds, the part that both find, below which it is another detector
_LOST = 0.5

# label, score, position and corners of each box
_Boxes = tuple[Floats, Floats, Floats, Floats]


class Detections:
    """The same class at an overlap of ``FOUND`` at least, each box once, the likeliest first.

    Scores below ``SCORE`` are no boxes; of raw heads those that overlap a likelier one of their class by more than
    ``SAME`` are none either. Where boxes are offsets from anchors that only the user's program knows, those of one
    position are compared.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        # found again, the original's, the pruned model's
        self._tally = Tally(3)
        self._forms: dict[int, str] = {}
        self._scales: dict[int, tuple[float, float] | None] = {}

    def add(self, before: list[Any], after: list[Any], samples: int) -> None:
        """One run of both."""
        left, right = (self._found(v, samples) for v in (before, after))
        anchored = boxes.ANCHORS in self._forms.values()
        rows = [(_matched(a, b, anchored), len(a[0]), len(b[0])) for a, b in zip(left, right, strict=True)]
        self._tally.add(*np.array(rows, np.float64).T)

    def _found(self, outputs: list[Array], samples: int) -> list[_Boxes]:
        """The boxes of each sample."""
        if self._layout.finished is not None:
            return self._chosen(self._layout.finished, outputs, samples)
        parts = [self._of_level(at, level, outputs, samples) for at, level in enumerate(self._layout.levels)]
        found, offset = [], np.cumsum([0, *(len(p[0][1]) for p in parts)])
        for sample in range(len(parts[0])):
            label, score, box = (np.concatenate([part[sample][k] for part in parts]) for k in range(3))
            position = np.arange(offset[-1], dtype=np.float64)
            keep = np.flatnonzero(score >= SCORE)
            keep = keep[np.argsort(-score[keep], kind="stable")][:_MOST]
            if boxes.ANCHORS not in self._forms.values():
                keep = keep[boxes.suppressed(box[keep], label[keep], score[keep], SAME)]
            found.append((label[keep], score[keep], position[keep], box[keep]))
        return found

    def _of_level(
        self, at: int, level: Level, outputs: list[Array], samples: int
    ) -> list[tuple[Floats, Floats, Floats]]:
        """Label, score and corners of every position, sample by sample."""
        label, score = level.scored(outputs, samples)
        place = np.nan_to_num(level.boxes.of(outputs, samples), nan=0.0, posinf=0.0, neginf=0.0)
        if at not in self._forms:
            # in what the original says first
            self._forms[at] = self._form(level, place)
            self._scales[at] = boxes.scale_of(place.reshape(-1, 4))
        form = self._forms[at]
        if form == boxes.GRID:
            levels, _ = boxes.grid_of(place.shape[1], *self._layout.picture) or ([], 1)
            place = boxes.from_grid(place, levels)
        elif form == boxes.CENTRES:
            place = boxes.around(place[..., :2], place[..., 2:])
        elif form == boxes.ANCHORS:
            place = boxes.from_anchors(place, self._scales[at])
        return list(zip(label, score, place, strict=True))

    def _chosen(self, finished: Finished, outputs: list[Array], samples: int) -> list[_Boxes]:
        """What the model itself chose."""
        found = []
        for label, score, place in _given(finished, outputs, samples):
            keep = np.flatnonzero(score >= SCORE)
            keep = keep[np.argsort(-score[keep], kind="stable")][:_MOST]
            box = place[keep]
            if len(box):
                form = self._forms.setdefault(0, boxes.decoded_form(box))
                box = boxes.around(box[:, :2], box[:, 2:]) if form == boxes.CENTRES else box
            found.append((label[keep], score[keep], keep.astype(np.float64), box))
        return found

    def _form(self, level: Level, place: Floats) -> str:
        if not level.raw:
            return boxes.decoded_form(place)
        grid = boxes.grid_of(place.shape[1], *self._layout.picture)
        return boxes.GRID if grid is not None and grid[1] == 1 else boxes.ANCHORS

    @property
    def found(self) -> Found:
        """Of all runs so far."""
        both, ours, theirs = self._tally.columns
        if not ours.sum():
            return Found(None, f"the original finds nothing on these samples (scores of {SCORE:g})", {}, False)
        again = share(both, ours)
        # boxes that nobody asked for are no better than those that are lost
        kept = share(both, ours if ours.sum() >= theirs.sum() else theirs)
        common = jackknife([both, ours, theirs], lambda b, o, t: 2 * b / (o + t))
        new = float(theirs.sum() - both.sum())
        boxes_of = plural(round(ours.sum()), "box", "boxes")
        text = f"{percent(again)} of {boxes_of} found again, {new:.0f} that were not there"
        figures = {"found_again": again, "kept": kept, "f1": common, "boxes": Estimate(float(ours.sum()))}
        figures |= {"new_boxes": Estimate(new)}
        most = common.value if math.isnan(common.high) else min(common.high, 1.0)
        return Found(kept, text, figures, most < _LOST)


def _matched(a: _Boxes, b: _Boxes, anchored: bool) -> int:
    """How many of the first are among the second."""
    if not len(a[0]) or not len(b[0]):
        return 0
    near = boxes.overlap(a[3], b[3])
    near[a[0][:, None] != b[0][None]] = 0.0
    if anchored:
        near[a[2][:, None] != b[2][None]] = 0.0
    count = 0
    for row in near:
        best = int(row.argmax())
        if row[best] >= FOUND:
            count += 1
            near[:, best] = 0.0
    return count


def _given(finished: Finished, outputs: list[Array], samples: int) -> list[tuple[Floats, Floats, Floats]]:
    """Labels, scores and boxes (as the model says them) of each sample."""
    box, score, label = (np.asarray(outputs[k], np.float64) for k in (finished.boxes, finished.scores, finished.labels))
    if finished.columns is not None:
        first, at_score, at_label = finished.columns
        rows = box.reshape(-1, box.shape[-1])
        owner = rows[:, 0] if first else np.repeat(np.arange(samples), len(rows) // max(samples, 1))
        parts = [
            (r[:, at_label], r[:, at_score], r[:, first : first + 4])
            for r in (rows[owner == sample] for sample in range(samples))
        ]
    else:
        several = box.ndim > 2
        split = [by_sample(v, samples) if several else v[None] for v in (box, score, label)]
        parts = [(lb.ravel(), sc.ravel(), bx.reshape(-1, 4)) for bx, sc, lb in zip(*split, strict=True)]
    return parts
