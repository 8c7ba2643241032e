"""Removing equals zeroing, step after step, where states are fed back."""

from __future__ import annotations

import numpy as np
from onnxruntime import InferenceSession

from spa_cli.graph.model import Graph
from spa_cli.graph.states import State, narrowed
from spa_cli.runtime.session import Feeds, run
from spa_cli.runtime.steps import next_feeds
from spa_cli.surgery.cut import Cut
from spa_cli.text import plural
from spa_cli.verification.outputs import outputs_differ

STEPS = 8
_ZEROING = "zeroing what was removed"


def loop_differs(
    graph: Graph, work: Cut, zeroed: InferenceSession, pruned: InferenceSession, feeds: Feeds
) -> str | None:
    """A sentence if what a cut model gives differs from what the original with zeros gives, else ``None``.

    Where states lost channels both are run ``STEPS`` times, each on the states it gave itself, zero at first where
    channels are gone. Raises what onnxruntime raises.
    """
    states, pairs = work.states, work.pairs
    left, right = silent(feeds, states), narrowed(feeds, states)
    steps = STEPS if states else 1
    for step in range(steps):
        try:
            dense = run(zeroed, left)
        except Exception:
            if not step:
                raise
            # the original itself takes no longer past
            return None
        thin = run(pruned, right)
        wide = {s.output: s.widened for s in states}
        whole = [wide[n](v) if n in wide else v for n, v in zip(graph.outputs, thin, strict=True)]
        found = outputs_differ(graph, dense, whole, _ZEROING)
        if found is not None:
            return f"{found}, after {plural(step, 'step')} of its states" if step else found
        if step + 1 == steps:
            break
        left = next_feeds(graph, pairs, left, dict(zip(graph.outputs, dense, strict=True)))
        given = dict(zip(graph.outputs, thin, strict=True))
        right = left | {p.input: given[p.output] for p in pairs if p.input in left}
    return None


def silent(feeds: Feeds, states: tuple[State, ...]) -> Feeds:
    """The original's inputs, zero where states lost channels."""
    found = dict(feeds)
    for state in states:
        if state.input in found:
            found[state.input] = state.widened(state.narrowed(np.asarray(found[state.input])))
    return found
