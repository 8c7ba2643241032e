"""Whether what the original gives are numbers, by which a cut can be judged."""

from __future__ import annotations

from typing import Any

import numpy as np

from spa_cli.errors import ModelError
from spa_cli.graph.finite import not_finite
from spa_cli.graph.model import Graph
from spa_cli.runtime.session import floats, tensors


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
