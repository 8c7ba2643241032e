"""Samples without any data, made from what the model itself tells: the shape, type, rank and use of its inputs."""

from __future__ import annotations

import math

import numpy as np

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import Calibration, affordable
from spa_cli.calibration.guess import decided
from spa_cli.calibration.kinds import Input, Kind
from spa_cli.calibration.rules import kind_of
from spa_cli.calibration.selection import class_scores, evenly_spread, like_training, stored
from spa_cli.calibration.store import Store
from spa_cli.calibration.streaming import carried, streamed
from spa_cli.text import plural, said_once

# one in so many samples is kept, where running them costs no more multiply-accumulates and drawing them no more numbers
_POOL, _POOL_MACS, _POOL_NUMBERS = 4, 2e12, 1.6e8
# what a state that is given back begins with
_START = Kind("a state, zeros at first", lambda count, shape, _: np.zeros((count, *shape)))


def synthetic(analysis: Analysis, samples: int, seed: int, spread: bool = True) -> Calibration:
    """As many samples as asked for, or as can be afforded, of the kinds that the model's inputs are taken for.

    ``spread``: a network is shown more of them, and those stay on which its BatchNorms see what they saw in training;
    of a classifier without any, those on which its own predictions are spread evenly over its classes.
    """
    kinds = decided(analysis, _kinds(analysis))
    count = affordable(analysis, samples)
    norms, scores = (stored(analysis), class_scores(analysis)) if spread else ([], "")
    numbers = sum(math.prod(shape[1:]) for shape in analysis.input_shapes.values())
    most = max(count, int(min(_POOL_MACS / max(analysis.costs.macs, 1), _POOL_NUMBERS / max(numbers, 1))))
    pool = affordable(analysis, min(_POOL * count, most)) if norms or scores else count
    store = Store.of(analysis, kinds, pool, np.random.default_rng(seed))
    chosen = ""
    if pool > count and norms:
        store = store.only(like_training(analysis, store, norms, count))
        chosen = f", of {pool} those nearest to what its BatchNormalizations store"
    elif pool > count:
        store = store.only(evenly_spread(analysis, store, scores, count))
        chosen = f", of {pool} those with evenly spread predictions"
    told = said_once({name: kind.told for name, kind in kinds.items()})
    about = "; ".join(f"{names}: {words}" for words, names in told.items())
    noise = any(kind.noise for kind in kinds.values())
    chunks = [chunk for _, chunk in store.chunks(analysis)]
    made = Calibration(chunks, f"{plural(count, 'synthetic sample')} ({about}{chosen})", noise, warning=_doubts(kinds))
    return streamed(analysis, made)


def _kinds(analysis: Analysis) -> dict[str, Kind]:
    shapes = {name: shape[1:] if shape else () for name, shape in analysis.input_shapes.items()}
    states = {pair.input for pair in carried(analysis)}
    return {name: _START if name in states else kind for name, kind in _guessed(analysis, shapes).items()}


def _guessed(analysis: Analysis, shapes: dict[str, tuple[int, ...]]) -> dict[str, Kind]:
    return {
        name: kind_of(
            Input(
                analysis.graph,
                name,
                shape,
                tuple(s for n, s in shapes.items() if n != name),
                analysis.input_shapes,
            )
        )
        for name, shape in shapes.items()
    }


def _doubts(kinds: dict[str, Kind]) -> str:
    """What nothing in the graph tells, "" if all is told."""
    told = said_once({f"'{name}'": kind.about for name, kind in kinds.items() if kind.doubtful})
    guessed = [f"{names} ({words})" for words, names in told.items()]
    if not guessed:
        return ""
    return f"what input {' and '.join(guessed)} takes was guessed, and all figures rest on that; give --calib"
