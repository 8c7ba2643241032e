"""States as they come: samples one after the other, each with the state that the original gave back after the last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import Calibration
from spa_cli.graph.model import Array
from spa_cli.graph.states import Pair
from spa_cli.runtime.caches import pasts
from spa_cli.runtime.session import graph_session
from spa_cli.text import and_more

# states that are named, all of them
_NAMED = 3


def carried(analysis: Analysis) -> list[Pair]:
    """States of one size, and what gives them back; a cache that grows is empty at the start."""
    grows = pasts(analysis.graph)
    return [p for p in analysis.pairs if p.output and not p.why and p.input not in grows]


def streamed(analysis: Analysis, samples: Calibration) -> Calibration:
    """``samples`` in their order, their states those that the original gave back, where all they hold are zeros.

    What is always at its start says nothing about a recurrent weight. As many run beside each other as a chunk has.
    """
    pairs = [p for p in carried(analysis) if all(p.input in c and not np.any(c[p.input]) for c in samples.chunks)]
    if not pairs or len(samples.chunks) < 2:
        return samples
    session = graph_session(analysis.graph, arena=False)
    chunks, states = list[dict[str, Array]](), dict[str, Any]()
    for chunk in samples.chunks:
        now = {**chunk, **{n: fitting for n, s in states.items() if (fitting := _fitting(s, chunk[n])) is not None}}
        chunks.append(now)
        try:
            found = session.run([p.output for p in pairs], now)
        except Exception:  # noqa: BLE001 - onnxruntime's kinds are its own; why it does not run is told where it has to
            return samples
        states = {p.input: value for p, value in zip(pairs, found, strict=True) if np.isfinite(value).all()}
    names = [p.input for p in pairs]
    told = ", ".join(names) if len(names) <= _NAMED else and_more(names)
    return replace(samples, chunks=chunks, about=f"{samples.about}, each with what came before it in {told}")


def _fitting(state: Array, like: Array) -> Array | None:
    """Of a state as much as a chunk that may be smaller takes; ``None`` where it takes more."""
    if state.ndim != like.ndim or any(a < b for a, b in zip(state.shape, like.shape, strict=True)):
        return None
    return state[tuple(slice(size) for size in like.shape)].astype(like.dtype)
