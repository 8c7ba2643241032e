"""Training one network towards another: what is matched, on which samples, how long."""

from __future__ import annotations

import difflib
import fnmatch
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spa_cli.analysis import Analysis, analyse_model
from spa_cli.calibration.chunks import Calibration
from spa_cli.calibration.focus import Focus
from spa_cli.derivatives.weights import weights_of
from spa_cli.errors import ModelError, OptionError
from spa_cli.graph.formulas import is_progression, made_by_formula
from spa_cli.graph.model import Graph
from spa_cli.graph.source import Source
from spa_cli.graph.states import narrowed_shapes, noted
from spa_cli.memory import working_memory
from spa_cli.options import Options
from spa_cli.options.tune import Training as Asked
from spa_cli.progress import stage
from spa_cli.runtime.providers import CPU, chosen
from spa_cli.surgery.cut import Cut
from spa_cli.threads import cores
from spa_cli.tuning.augment import CROP, FLIP, MIX, TOLD, ways_for
from spa_cli.tuning.batches import Batches, Feeds
from spa_cli.tuning.familiar import borne
from spa_cli.tuning.match import Match
from spa_cli.tuning.terms import Term, terms_of
from spa_cli.tuning.told import Told
from spa_cli.tuning.train import Point, Training, train
from spa_cli.tuning.whitened import whitened
from spa_cli.verification.subject import Subject

# samples of a step: so that there are about so many steps in a pass, within these bounds
_STEPS, _FEWEST, _MOST = 32, 8, 64
# tensors that a step holds beside every activation: its gradient, and what both are made of
_COPIES = 3


@dataclass(frozen=True, eq=False)
class Tuned:
    """What training did. ``missing``: weights that were left as they are, and why; ``samples``: what was trained on."""

    training: Training
    terms: tuple[Term, ...]
    trained: int
    missing: dict[str, str]
    samples: str
    judged_on: str
    ways: tuple[str, ...]
    batch: int


def tuned(
    subject: Subject,
    pruned: Source,
    samples: Calibration,
    asked: Asked,
    options: Options,
    step_done: Callable[[Point], None] | None = None,
    work: Cut | None = None,
) -> Tuned:
    """Train the weights of ``pruned`` so that it gives what the ``subject`` gives.

    ``work``: how it was cut, where that is known: what is left of every sum inside is matched then.
    Raises ModelError where no weight can be trained, UsageError for patterns that name none.
    """
    stage("finding what to train")
    original, seed, focus = subject.analysis, options.seed, Focus.of(options.focus)
    # raises UsageError for an output that is not there
    focus.emphasis(original.graph)
    states = noted(pruned.model, subject.source.model)
    small = analyse_model(pruned, narrowed_shapes(original.input_shapes, states))
    names = _trainable(small, asked.trainable)
    terms, told = terms_of(original, small, subject.reference, {s.output for s in states}, work), None
    if asked.labels:
        told = Told.of(subject, small, samples)
        terms.append(told.term)
    if not terms:
        raise ModelError(
            f"'{pruned.name}' can't be trained: no output, and nothing that one is chosen by, is a number that both "
            "models have; use the file as it is"
        )
    size = asked.batch or _batch(small, samples.samples)
    at_once = cores() if chosen() == CPU else 1
    batches = Batches.of(original.graph, samples, size, None if told is None else told.fitted, at_once)
    first = next(batches((), np.random.default_rng(seed)))[0]
    match = Match(
        original, small, terms, names, first, batches.in_order(), states, work, min(at_once, batches.runs_of_a_step)
    )
    if not match.gradients.names:
        reason = next(iter(match.gradients.missing.values()))
        raise ModelError(f"no weight of '{pruned.name}' can be trained: {reason}; use the file as it is")
    judged = None if told is None else told.judged
    judges = Batches.of(original.graph, subject.judges, batches.size, judged, at_once).in_order()
    ways = _ways(asked, match, first, judges, seed)
    stage("training")
    rate = None if asked.lr == "auto" else float(asked.lr)
    begun = time.monotonic()
    white = whitened(small, match.gradients.names, batches, seed, states)
    # weights that too high a rate sends off are judged like any others
    with np.errstate(over="ignore", invalid="ignore"):
        done = train(match, batches, judges, ways, asked, seed, rate, focus.output, step_done, white, begun)
    return Tuned(
        training=done,
        terms=match.terms,
        trained=len(match.gradients.names),
        missing=match.gradients.missing,
        samples=samples.about,
        judged_on=subject.judges.about,
        ways=ways,
        batch=batches.size,
    )


def _ways(asked: Asked, match: Match, first: Feeds, judges: list[Feeds], seed: int) -> tuple[str, ...]:
    """What is done to samples; raises UsageError where labels of places would not go along."""
    ways = ways_for(first) if asked.ways is None else asked.ways
    if np.ndim(first.get(TOLD, ())) > 2:
        moved = next((way for way in asked.ways or () if way in (CROP, FLIP)), None)
        if moved is not None:
            raise OptionError(
                f"--augment {moved} moves what is in images, but not the labels of their places; use mix or none"
            )
        ways = tuple(way for way in ways if way == MIX)
    return borne(ways, match, judges, seed) if asked.ways is None else ways


def _trainable(pruned: Analysis, patterns: tuple[str, ...]) -> list[str]:
    """The weights that patterns name; all where there are none. Masks and rotary tables were never trained."""
    found = [name for name in weights_of(pruned.graph) if _was_trained(pruned.graph, name)]
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in found):
            near = " or ".join(f"'{n}'" for n in difflib.get_close_matches(pattern, found, 2))
            advice = f"did you mean {near}?" if near else "'spa inspect' lists the tensors"
            raise OptionError(f"--trainable '{pattern}' names no weight of '{pruned.graph.model.graph.name}'; {advice}")
    return [n for n in found if not patterns or any(fnmatch.fnmatchcase(n, p) for p in patterns)]


def _was_trained(graph: Graph, name: str) -> bool:
    # a single number is an epsilon or a factor of the architecture's
    size = math.prod(graph.shape(name))
    return size > 1 and not made_by_formula(graph, name) and not is_progression(graph.array(name))


def _batch(pruned: Analysis, samples: int) -> int:
    """Samples of a step: as few as make some steps of a pass, no more than memory holds."""
    shapes = pruned.state.shapes.shape
    batch = max((s[0] for s in pruned.input_shapes.values() if s), default=1)
    each = sum(4 * math.prod(d or 1 for d in s) for n, s in shapes.items() if s and n in pruned.graph.producers)
    room = working_memory() // max(1, _COPIES * each // max(batch, 1))
    return int(max(1, min(room, max(_FEWEST, min(_MOST, samples // _STEPS)))))
