"""Two models side by side on all samples: how far outputs moved, each in its own measure; how many labels they meet."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from onnxruntime import InferenceSession

from spa_cli.calibration.chunks import Calibration
from spa_cli.calibration.samples import Samples
from spa_cli.errors import UsageError
from spa_cli.graph.model import Array
from spa_cli.measures.panel import Panel
from spa_cli.measures.perplexity import Following, Truth, perplexity
from spa_cli.runtime.session import run
from spa_cli.verification.accuracy import Accuracy, Met
from spa_cli.verification.drift import Drift, Moved, side_by_side


def judge(
    before: InferenceSession,
    after: InferenceSession,
    samples: Calibration,
    panel: Panel,
    labels: Array | None = None,
    output: str = "",
) -> tuple[Drift, Accuracy | None]:
    """Run after run, in the memory of one run; ``labels``: of the user's data, ``output``: what they are about.

    Raises what ``side_by_side`` raises.
    """
    moved, met = Moved(panel), None
    following = Following(None)
    if labels is not None and samples.index is not None:
        met = Met(labels, panel.names, panel.names.index(output) if output in panel.names else None)
    for at, (right, found, count) in enumerate(side_by_side(before, after, samples.runs)):
        moved.add(right, found, count)
        # those that fill a run up have been seen before
        index = None if samples.index is None else samples.index[at][-count:]
        own = None if labels is None or index is None else labels[index]
        feeds = samples.chunks[at]
        if not at:
            following = Following(Truth.of(panel, feeds, own, right, partial(run, before)))
        following.add(feeds, own, right, found, count)
        if met is not None and index is not None:
            met.add(right, found, index)
    drift = moved.drift
    drift = replace(drift, perplexity=perplexity(drift.outputs, following))
    return drift, None if met is None else met.accuracy


def labels_of(given: Samples | None, must: bool) -> Array | None:
    """Labels beside samples; those that can't be used raise UsageError only where somebody asks for them."""
    try:
        return None if given is None else given.labels
    except UsageError:
        if must:
            raise
        return None
