"""Whether what the original gives are numbers, and things found, by which a cut can be judged."""

from __future__ import annotations

from typing import Any

import numpy as np

from spa_cli.calibration.chunks import samples_in
from spa_cli.errors import ModelError
from spa_cli.graph.finite import not_finite
from spa_cli.graph.model import Graph
from spa_cli.measures import kinds
from spa_cli.measures.panel import Bench
from spa_cli.runtime.session import floats, open_session, run, tensors
from spa_cli.verification.subject import Subject

# samples among which a detector finds something, if they are what it takes
_ENOUGH = 8


def check_numbers(name: str, graph: Graph, reference: list[Any]) -> list[str]:
    """Warnings about outputs that are NaN here and there; ``reference``: what the model ``name`` gives.

    Raises ModelError where no output holds anything that can be compared.
    """
    found = {n: [f for f in floats([o]) if f.size] for n, o in zip(graph.outputs, reference, strict=True)}
    numbers = [f for many in found.values() for f in many]
    discrete = any(isinstance(t, np.ndarray) and t.dtype.kind in "iubOUS" for t in tensors(reference))
    if numbers and not discrete and not any(np.isfinite(f).any() for f in numbers):
        culprit = next(((p, why) for p in graph.parameters if (why := not_finite(graph.array(p)))), None)
        because = f": its weight '{culprit[0]}' holds {culprit[1]}" if culprit else ""
        raise ModelError(
            f"'{name}' gives nothing but NaN or infinity, so that no cut of it could be judged{because}; export it "
            "again with weights that are numbers, or give samples that it works on with --calib"
        )
    shares = {n: float(np.mean([np.isnan(f).mean() for f in many])) for n, many in found.items() if many}
    return [
        f"{share:.1%} of output '{n}' of the original is NaN: that is not compared"
        for n, share in shares.items()
        if share
    ]


def check_found(subject: Subject) -> list[str]:
    """A warning where a detector finds nothing on the user's samples: they may not be what it takes."""
    bench, count = subject.panel.begin(), samples_in(subject.feeds)
    bench.add(subject.reference, subject.reference, count)
    # one picture may well show nothing, and there are models that take one at a time
    for chunk in subject.judges.chunks[1:]:
        if count >= _ENOUGH or not _idle(bench):
            break
        outputs = run(open_session(subject.source, large=subject.source.external), chunk)
        bench.add(outputs, outputs, samples_in(chunk))
        count += samples_in(chunk)
    if not _idle(bench):
        return []
    those = "the only sample" if count == 1 else f"{count} samples"
    return [
        f"the original finds nothing on {those}; give them as it takes them (of pictures: --image-range, --mean, "
        "--std, --color), or others that show what it finds"
    ]


def _idle(bench: Bench) -> bool:
    return any(one.kind == kinds.DETECTIONS and one.agreement is None for one in bench.judged)
