"""Inputs that samples need not hold: states and caches of a start, masks, and what follows from the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from spa_cli.graph.model import Array, Graph
from spa_cli.runtime.caches import is_state, masks_all, new_length, pasts
from spa_cli.runtime.dimensions import input_shapes
from spa_cli.runtime.follows import follows
from spa_cli.runtime.inputs import batch_of, input_dims, input_dtype
from spa_cli.runtime.session import graph_session, run
from spa_cli.text import said_once

# lengths of a past that are tried in turn where onnxruntime does not run without one
_LENGTHS = (1, 2, 16)
# trying takes the whole model in memory once more
_LIMIT = 500_000_000


def needed(graph: Graph) -> list[str]:
    """Inputs that samples have to hold."""
    return [name for name in graph.inputs if not fillable(graph, name)]


def alone(graph: Graph) -> str | None:
    """The one input that samples have to hold, or that there is; ``None`` where there are several."""
    names = [*graph.inputs] if len(graph.inputs) == 1 else needed(graph)
    return names[0] if len(names) == 1 else None


def fillable(graph: Graph, name: str) -> bool:
    """Whether it is known what an input takes that samples do not hold; a mask with space is a picture of its own."""
    if is_state(graph, name) or ("mask" in name.lower() and len(input_dims(graph.inputs[name]) or []) == 2):
        return True
    sizes = {n: tuple(d if isinstance(d, int) else 1 for d in input_dims(i) or []) for n, i in graph.inputs.items()}
    return follows(graph, name, sizes) is not None


def filled(arrays: Mapping[str, Array], graph: Graph) -> tuple[dict[str, Array], str]:
    """What ``arrays`` hold and the inputs that they lack and need not hold, and a clause about those ("" if none).

    A past is empty, or has the least length that onnxruntime runs; masks and positions that were given then begin that
    much later.
    """
    found = {n: np.asarray(a) for n, a in arrays.items()}
    given = {n: a for n, a in found.items() if n in graph.inputs and a.ndim}
    lacking = [n for n in graph.inputs if n not in found]
    if not lacking or not given or any(not fillable(graph, n) for n in lacking):
        return found, ""
    attempts = list(_attempts(graph, given, lacking))
    # where none runs it is told why, of the first, where the model is run
    runs = (attempt for attempt in attempts if len(attempts) == 1 or _runs(graph, attempt[0]))
    made, about = next(runs, attempts[0])
    return found | made, _clause(about)


def _attempts(
    graph: Graph, given: dict[str, Array], lacking: list[str]
) -> Iterator[tuple[dict[str, Array], dict[str, str]]]:
    """All inputs, with no past and then with some, and what was filled in."""
    samples = {n: a.shape[1:] for n, a in given.items()}
    axes = {n: axis for n, axis in pasts(graph).items() if n in lacking}
    shapes = next(input_shapes(graph, {}, samples))
    # a mask that is longer than what is new says how much went before
    new = new_length(graph, shapes) or 0
    before = [a.shape[1] - new for n, a in given.items() if masks_all(n) and a.ndim == 2] if new else []
    for past in (max(0, *before, 0), *_LENGTHS) if axes else (0,):
        sized = {n: (*shapes[n][1:axis], past, *shapes[n][axis + 1 :]) for n, axis in axes.items()}
        shapes = next(input_shapes(graph, {}, samples | sized))
        count = min(map(len, given.values()))
        made, about = dict[str, Array](), dict[str, str]()
        for name in lacking:
            made[name], about[name] = _value(graph, name, shapes, count, past if name in axes else None)
        yield {**{n: _later(n, a, past, new) for n, a in given.items()}, **made}, about


def _value(
    graph: Graph, name: str, shapes: Mapping[str, tuple[int, ...]], count: int, past: int | None
) -> tuple[Array, str]:
    """(count, ...) of an input, and what it is."""
    kind = input_dtype(graph.inputs[name].type.tensor_type.elem_type)
    if (known := follows(graph, name, shapes)) is not None:
        value, about = known.value, known.about
    elif is_state(graph, name):
        value, about = np.zeros(()), "a state of zeros"
        if past is not None:
            about = f"a past of length {past}, zeros" if past else "an empty past"
    else:
        value, about = np.ones(()), "ones"
    return np.broadcast_to(value.astype(kind), (count, *shapes[name][1:])), about


def _later(name: str, array: Array, past: int, new: int) -> Array:
    """A mask, or positions, that were given for what is new, behind a past."""
    if not past or array.ndim != 2 or array.shape[1] != new:
        return array
    if "position" in name.lower():
        return array + past
    return np.pad(array, ((0, 0), (past, 0)), constant_values=1) if masks_all(name) else array


def _runs(graph: Graph, arrays: Mapping[str, Array]) -> bool:
    """Whether onnxruntime takes the first sample; where trying costs too much, it is taken to."""
    if graph.folder and any(t.data_location for t in graph.model.graph.initializer):
        return True
    try:
        run(graph_session(graph), batch_of(dict(arrays), graph, 1))
    except Exception:  # noqa: BLE001 - onnxruntime's kinds are its own; why nothing runs is told where the model is run
        return False
    return True


def _clause(about: Mapping[str, str]) -> str:
    told = ", ".join(f"{words} ({names})" for words, names in said_once(about).items())
    return f", filled in: {told}" if told else ""
