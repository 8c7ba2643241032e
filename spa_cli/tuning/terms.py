"""What the pruned network is to give as the original does: every output in its own terms, and sums inside it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spa_cli.analysis import Analysis
from spa_cli.graph.model import FLOAT_TYPES
from spa_cli.measures import kinds
from spa_cli.measures.classes import LOGITS
from spa_cli.measures.recognise import Recogniser, Taken
from spa_cli.obspa.regression import aligned
from spa_cli.obspa.unfit import Unfit
from spa_cli.runtime.floats import last_floats
from spa_cli.surgery.cut import Cut

# what a tensor may hold beside scores of classes: probabilities that stand alone, and numbers
CHANCES, VALUES = "chances", "values"
# makes probabilities, or their logarithms, of logits
_CHOOSING = frozenset({"Softmax", "LogSoftmax"})
# sums of this rank at least have positions
_POSITIONS = 3


@dataclass(frozen=True)
class Term:
    """Of a tensor the channels from ``start`` to ``stop`` along ``axis`` (from the end), and what they are.

    ``likely``: stretches (start, stop) of chances in the same tensor that say where these channels mean something.
    ``alike``: its channels count alike, however little some vary. ``inner``: it is no output. ``told``: it is to meet
    labels, not what the original gives.
    """

    tensor: str
    form: str
    axis: int = -1
    start: int = 0
    stop: int | None = None
    likely: tuple[tuple[int, int], ...] = ()
    alike: bool = False
    inner: bool = False
    told: bool = False


def terms_of(
    original: Analysis,
    pruned: Analysis,
    reference: list[Any],
    states: Collection[str] = frozenset(),
    work: Cut | None = None,
) -> list[Term]:
    """``reference``: what the original gave in its first run; ``states``: outputs that lost channels.

    ``work``: how the pruned one was cut, where that is known.
    """
    recogniser, found = Recogniser(original.graph, original.state.shapes, reference), list[Term]()
    floats = last_floats(original.graph, original.state.shapes)
    for at, name in enumerate(original.graph.outputs):
        if name in floats and isinstance(reference[at], np.ndarray):
            own = [_numbers(name, reference[at].ndim)] if name in states else None
            found += own or _of_output(recogniser, at, name, reference[at], (original, pruned))
    # of an output that names classes what they are chosen by
    inner = [n for n in floats if n not in original.graph.outputs and _same(original, pruned, n, least=1)]
    found += [_numbers(name, len(original.state.shapes.shape[name] or ())) for name in inner]
    return found + _shared_sums(original, pruned, work)


def classes_in(original: Analysis, pruned: Analysis, reference: list[Any]) -> list[tuple[Term, tuple[int, ...]]]:
    """What gives scores of classes, logits where there are, and its shape."""
    recogniser, found = Recogniser(original.graph, original.state.shapes, reference), []
    for at, name in enumerate(original.graph.outputs):
        taken = recogniser.output(at)
        if not taken.form:
            continue
        found.append((_scores(taken, name, (original, pruned)), np.shape(reference[at])))
    return found


def numbers_in(original: Analysis, reference: list[Any]) -> list[tuple[Term, tuple[int, ...]]]:
    """Outputs of numbers, and their shapes."""
    floats = last_floats(original.graph, original.state.shapes)
    pairs = zip(original.graph.outputs, reference, strict=True)
    return [(_numbers(n, v.ndim), v.shape) for n, v in pairs if n in floats and isinstance(v, np.ndarray) and v.ndim]


def _of_output(
    recogniser: Recogniser, at: int, name: str, value: np.ndarray, pair: tuple[Analysis, Analysis]
) -> list[Term]:
    taken = recogniser.output(at)
    if taken.form:
        # what teaches most is how scores stand to each other, also of classes that are not likely: squares of logits
        # (Kim et al. 2021) win back twice what the divergence of probabilities does (docs/tune.md)
        scores = _scores(taken, name, pair)
        return [replace(scores, form=VALUES) if scores.form == LOGITS else scores]
    if not value.ndim:
        return [Term(name, VALUES)]
    plain = _numbers(name, value.ndim)
    if taken.kind == kinds.EMBEDDINGS:
        # only angles between vectors count: a channel that is nearly always 0 says next to nothing
        return [replace(plain, alike=True)]
    stretches = _stretches(recogniser, at, plain.axis, value.shape[plain.axis])
    chances = [(start, stop) for form, start, stop in stretches if form == CHANCES]
    if not chances:
        return [plain]
    return [
        Term(name, form, plain.axis, start, stop, tuple(c for c in chances if c != (start, stop)))
        for form, start, stop in stretches
    ]


def _scores(taken: Taken, name: str, pair: tuple[Analysis, Analysis]) -> Term:
    """An output of scores of classes: its logits, if they can be told."""
    logits = name if taken.form == LOGITS else _logits(*pair, name)
    return Term(logits, LOGITS, taken.axis) if logits else Term(name, taken.form, taken.axis)


def _logits(original: Analysis, pruned: Analysis, name: str) -> str:
    """What probabilities are made of in both networks, "" if that can't be told."""
    made = set()
    for graph in (original.graph, pruned.graph):
        node = graph.producers.get(name)
        made.add(node.inputs[0] if node is not None and node.op in _CHOOSING and not node.domain else "")
    return made.pop() if len(made) == 1 else ""


def _stretches(recogniser: Recogniser, at: int, axis: int, size: int) -> list[tuple[str, int, int]]:
    """Form, start and end of what different operators made along an axis; none where that can't be told."""
    found, start = list[tuple[str, int, int]](), 0
    for part in recogniser.made(at, axis):
        if part.size is None:
            return []
        form = CHANCES if part.op == "Sigmoid" and part.straight else VALUES
        found.append((form, start, start + part.size))
        start += part.size
    return found if start == size else []


def _numbers(name: str, rank: int) -> Term:
    """Channels lie last, of pictures second."""
    return Term(name, VALUES, 1 - rank if rank > _POSITIONS else -1)


def _shared_sums(original: Analysis, pruned: Analysis, work: Cut | None) -> list[Term]:
    """Sums inside both networks that have the same name, and the same shape but for what is known to have gone."""
    found = []
    for node in pruned.graph.nodes:
        if node.op not in ("Add", "Sum") or node.domain or node.outputs[0] in pruned.graph.outputs:
            continue
        name, twin = node.outputs[0], original.graph.producers.get(node.outputs[0])
        summed = [i for i in node.inputs if i in pruned.graph.producers]
        if twin is None or twin.op != node.op or len(summed) < 2 or not _same(original, pruned, name, work):
            continue
        term = _numbers(name, len(pruned.state.shapes.shape[name] or ()))
        found.append(Term(name, VALUES, term.axis, inner=True))
    return found


def _same(original: Analysis, pruned: Analysis, name: str, work: Cut | None = None, least: int = _POSITIONS) -> bool:
    """Whether both have a tensor of numbers of this name, of one shape (once it is cut, as it was), of so many axes at
    least: a sum is to have positions.
    """
    before, after = (a.state.shapes.shape.get(name) for a in (original, pruned))
    kinds = {a.state.shapes.dtype.get(name) for a in (original, pruned)}
    if before is None or len(before) < least or not kinds <= FLOAT_TYPES:
        return False
    if work is not None and None not in before:
        try:
            before = aligned(work, name, np.broadcast_to(np.float32(0), [d or 0 for d in before])).shape
        except Unfit:
            return False
    return before == after
