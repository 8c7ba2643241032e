"""What a result is judged on: samples that nothing was fitted to."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import Calibration, batch_of, fixed_size
from spa_cli.calibration.focus import Focus
from spa_cli.calibration.read import Data
from spa_cli.calibration.samples import JUDGES
from spa_cli.calibration.split import held_back, whole
from spa_cli.calibration.streaming import streamed
from spa_cli.calibration.synthetic import synthetic
from spa_cli.errors import SpaError, UsageError
from spa_cli.graph.model import Graph
from spa_cli.graph.source import Source
from spa_cli.options import Options
from spa_cli.runtime.said import said
from spa_cli.runtime.session import Feeds, open_session, run

# synthetic samples that a search or a sweep is judged on
_SEARCHING = 256
# multiply-accumulates that judging on synthetic samples is worth, numbers that go in and come out, and how many samples
# there are at least
_MACS, _NUMBERS, _FEWEST = 5e11, 2e8, 8


def judging_samples(analysis: Analysis, options: Options, focus: Focus, data: Data) -> Calibration:
    """``--test``, what is held back of ``--calib``, or synthetic samples of a seed that nothing else uses."""
    if data.test is not None:
        return streamed(analysis, whole(analysis, data.test))
    if data.fit is not None:
        return streamed(analysis, held_back(analysis, data.fit, options, focus))
    searching = options.measures_quality or options.sweeping
    return made_up(analysis, options.seed + 1, _SEARCHING if searching else JUDGES, searching)


def made_up(analysis: Analysis, seed: int, wanted: int = JUDGES, spread: bool = False) -> Calibration:
    """Synthetic samples, as many as a short while is enough for; ``spread`` evenly over the classes if asked."""
    affordable = min(_MACS / max(analysis.costs.macs, 1), _NUMBERS / _numbers(analysis))
    return synthetic(analysis, min(wanted, max(_FEWEST, int(affordable))), seed, spread)


def _numbers(analysis: Analysis) -> float:
    """How many go in and come out for a sample: those of large pictures take longer to compare than to compute."""
    shapes = analysis.state.shapes.shape
    out = (tuple(d or 1 for d in shapes.get(name) or ()) for name in analysis.graph.outputs)
    return sum(map(math.prod, (*analysis.input_shapes.values(), *out))) / batch_of(analysis) or 1


def first_of(graph: Graph, samples: Calibration, count: int) -> Feeds:
    """The first samples, ``count`` at most where the model leaves their number free."""
    chunk = samples.chunks[0]
    if any(fixed_size(graph, name) for name in chunk):
        return chunk
    return {name: value[:count] if np.ndim(value) else value for name, value in chunk.items()}


def or_feeds(source: Source, feeds: Feeds, make: Callable[[], Calibration], given: bool = False) -> Calibration:
    """What ``make`` gives; where the model doesn't run on that, ``feeds``, on which it is known to run.

    Raises UsageError instead where the samples were ``given`` by the user.
    """
    try:
        found = make()
        run(open_session(source, large=source.external), found.chunks[0])
    except SpaError:
        raise
    except Exception as error:
        if given:
            raise UsageError(
                f"'{source.name}' does not run on the samples of --test ({said(error)}); give samples it takes"
            ) from error
        # samples that nobody foresaw: synthetic ones, of a kind that was guessed
        return Calibration([feeds], "synthetic inputs")
    return found
