"""States and caches: an input that carries what went before, and the output that gives it back, lose channels together.

Which output that is, tell what is coupled (a channel of the input lives in the output), then names, then their order.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from spa_cli.channels.state import Axis, Channels
from spa_cli.errors import OptionError
from spa_cli.graph.model import Graph
from spa_cli.graph.shapes import Shapes
from spa_cli.graph.states import Pair
from spa_cli.runtime.caches import is_state, is_used_as_state
from spa_cli.runtime.inputs import input_dims

# what names of the two ends differ in
_ENDS = re.compile(r"past|present|prev|next|last|new|input|output|ins?(?![a-z])|outs?(?![a-z])|key_values?")
# from here on names say that two belong together
_ALIKE = 0.6


def find_pairs(
    graph: Graph, shapes: Shapes, told: Sequence[tuple[str, str]] = (), state: Channels | None = None
) -> tuple[Pair, ...]:
    """States and what gives them back: those in ``told``, and whatever is one by its name or its use.

    ``state``: of a walk over the graph in which states may lose channels; what is coupled there belongs together.
    Raises OptionError for what is told and not there.
    """
    _check(graph, told)
    found = [_of(graph, shapes, *ends) for ends in told]
    inputs = [n for n in graph.inputs if is_state(graph, n) and n not in {p.input for p in found}]
    outputs = [n for n in dict.fromkeys(graph.outputs) if n not in {p.output for p in found}]
    places = {n: at / max(len(inputs) - 1, 1) for at, n in enumerate(inputs)}
    backs = [o for o in outputs if any(not _misfit(graph, shapes, n, o) for n in inputs)]
    ends = {n: at / max(len(backs) - 1, 1) for at, n in enumerate(backs)}

    def worth(ends_of: tuple[str, str]) -> tuple[int, float, float]:
        name, back = ends_of
        coupled = 0 if state is None else len(_coupled(state, name, back))
        return coupled, alike(name, back), -abs(places[name] - ends[back])

    fits = [(n, o) for n in inputs for o in backs if not _misfit(graph, shapes, n, o)]
    taken = dict[str, str]()
    for name, back in sorted(fits, key=worth, reverse=True):
        if name not in taken and back not in taken.values():
            taken[name] = back
    for name in inputs:
        sure = name in taken and _is_sure(graph, state, name, taken[name], len(inputs) == len(backs))
        pair = _of(graph, shapes, name, taken[name]) if sure else Pair(name, "", why="no output gives it back")
        found.append(pair)
    return tuple(found)


def stays(state: Channels, pair: Pair) -> str:
    """Why a pair that may lose channels loses none: what else keeps them; "" if some can go."""
    why = ""
    for axis in (state.axes[pair.input][at] for at in pair.axes):
        ids = state.ids.normal(axis.rows).ravel()
        marks = np.array([axis.why]) if axis.static else state.ids.frozen(ids[ids != 0])
        if not marks.all():
            return ""
        why = why or state.ids.reasons[int(marks[0])].text
    return why


def _check(graph: Graph, told: Sequence[tuple[str, str]]) -> None:
    """Raises OptionError for ends that are not there."""
    for name, back in told:
        for end, kind, names in ((name, "input", graph.inputs), (back, "output", graph.outputs)):
            if end not in names:
                raise OptionError(f"--state names '{end}', which is no {kind}; name one of {', '.join(names)}")


def _is_sure(graph: Graph, state: Channels | None, name: str, back: str, even: bool) -> bool:
    """``even``: there are as many outputs that fit as states."""
    if state is not None and _coupled(state, name, back):
        return True
    return alike(name, back) >= _ALIKE or (even and is_used_as_state(graph, name))


def alike(name: str, back: str) -> float:
    """How much two names look like those of one state, from 0 to 1; numbers that differ say that they are not."""
    numbers = [re.findall(r"\d+", n) for n in (name, back)]
    if len(numbers[0]) == len(numbers[1]) and numbers[0] != numbers[1]:
        return 0.0
    words = [" ".join(re.findall(r"[a-z]+|\d+", _ENDS.sub(" ", n.lower()))) for n in (name, back)]
    return difflib.SequenceMatcher(None, words[0], words[1], autojunk=False).ratio()


def _of(graph: Graph, shapes: Shapes, name: str, back: str) -> Pair:
    why = _misfit(graph, shapes, name, back)
    return Pair(name, back, () if why else tuple(_fixed(graph, shapes, name)), why)


def _misfit(graph: Graph, shapes: Shapes, name: str, back: str) -> str:
    """Why an output can't be what an input's state becomes, "" if it can."""
    dims = input_dims(graph.inputs[name])
    before, after = shapes.shape.get(name), shapes.shape.get(back)
    if dims is None or before is None or after is None:
        return f"the shape of '{name if before is None or dims is None else back}' is not known"
    kinds = [graph.inputs[name].type.tensor_type.elem_type]
    kinds += [o.type.tensor_type.elem_type for o in graph.model.graph.output if o.name == back]
    if len(set(kinds)) > 1:
        return f"it is of another type than '{back}'"
    free = {at for at, dim in enumerate(dims) if isinstance(dim, str)}
    same = len(before) == len(after) and all(
        a == b or b is None or at in free for at, (a, b) in enumerate(zip(before, after, strict=True))
    )
    return "" if same else f"it has shape {_text(before)}, and '{back}' {_text(after)}"


def _text(shape: Sequence[int | None]) -> str:
    return "x".join("?" if d is None else str(d) for d in shape) or "()"


def _fixed(graph: Graph, shapes: Shapes, name: str) -> Iterator[int]:
    """Axes that every caller has the same number of channels on."""
    for at, (dim, size) in enumerate(zip(input_dims(graph.inputs[name]) or [], shapes.shape[name], strict=False)):
        if isinstance(dim, int) and dim > 1 and dim == size:
            yield at


def is_open(graph: Graph, name: str, told: Sequence[tuple[str, str]]) -> bool:
    """Whether an input may lose channels, as long as nothing else is known."""
    return any(name == given for given, _ in told) or is_state(graph, name)


def open_axes(state: Channels, name: str) -> list[Axis]:
    """The axes of a state that may lose channels, until it is known what gives it back."""
    may = set(_fixed(state.graph, state.shapes, name))
    return [
        state.fresh(int(axis.size or 0), zero=True) if at in may else axis
        for at, axis in enumerate(closed_axes(state, name))
    ]


def closed_axes(state: Channels, name: str) -> list[Axis]:
    """The axes of an input that keeps its shape."""
    return [state.static(size, _stays(name), "") for size in state.shapes.shape[name]]


def _stays(name: str) -> str:
    return f"graph input '{name}' keeps its shape"


def tie(state: Channels, pair: Pair) -> Pair:
    """Let both ends keep the same channels, or all where that can't be; what came of it.

    A channel that is removed has to stay zero from step to step: what is not zero there is not exact.
    """
    axes = state.axes[pair.input]
    if pair.why or pair.output not in state.axes:
        why = pair.why or f"the shape of '{pair.output}' is not known"
        for axis in axes:
            state.ids.freeze(axis.rows, state.ids.reason(f"state '{pair.input}' keeps its shape: {why}", ""))
        return Pair(pair.input, pair.output, (), why)
    for before, after in zip(axes, state.axes[pair.output], strict=True):
        if before.static or after.static:
            fixed = before.why if before.static else after.why
            for end in (before, after):
                state.ids.freeze(end.rows, fixed or state.ids.reason(_stays(pair.input), ""))
            continue
        state.ids.unify(before.rows, after.rows, state.ids.reason(f"state {pair.line} arranges its channels anew", ""))
        if not after.zero:
            why = f"what comes back in '{pair.output}' is not zero where its weights are"
            state.ids.mark_inexact(before.rows, state.ids.reason(why, ""))
    return pair


def _coupled(state: Channels, name: str, back: str) -> list[int]:
    """Axes on which a channel of the input lives in the output."""
    found = list[int]()
    for at, (a, b) in enumerate(zip(state.axes.get(name, ()), state.axes.get(back, ()), strict=False)):
        if not (a.static or b.static):
            shared = np.intersect1d(state.ids.normal(a.rows), state.ids.normal(b.rows))
            found += [at] if shared.any() else []
    return found
