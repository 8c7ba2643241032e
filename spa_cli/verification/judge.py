"""Two models side by side on all samples: how far outputs moved, each in its own measure; how many labels they meet."""

from __future__ import annotations

from onnxruntime import InferenceSession

from spa_cli.calibration.chunks import Calibration
from spa_cli.calibration.samples import Samples
from spa_cli.errors import UsageError
from spa_cli.graph.model import Array
from spa_cli.measures.panel import Panel
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
    if labels is not None and samples.index is not None:
        met = Met(labels, panel.names, panel.names.index(output) if output in panel.names else None)
    for at, (right, found, count) in enumerate(side_by_side(before, after, samples.runs)):
        moved.add(right, found, count)
        if met is not None and samples.index is not None:
            # those that fill a run up have been seen before
            met.add(right, found, samples.index[at][-count:])
    return moved.drift, None if met is None else met.accuracy


def labels_of(given: Samples | None, must: bool) -> Array | None:
    """Labels beside samples; those that can't be used raise UsageError only where somebody asks for them."""
    try:
        return None if given is None else given.labels
    except UsageError:
        if must:
            raise
        return None
