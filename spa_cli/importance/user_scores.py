"""Scores that the user worked out, in any framework."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spa_cli.archives import UNREADABLE, check_unpacked, why_unread
from spa_cli.channels.groups import Group
from spa_cli.errors import UsageError
from spa_cli.graph.model import Array
from spa_cli.importance.evidence import Evidence, Scored
from spa_cli.importance.registry import criterion_with_argument


@criterion_with_argument("scores", aggregation="sum")
def scores(evidence: Evidence, group: Group, file: str) -> list[Scored] | None:
    """scores:FILE.npz, one array per parameter by initializer name, shaped like it."""
    if file not in evidence.given:
        shapes = {name: evidence.graph.shape(name) for name in evidence.graph.parameters}
        evidence.given[file] = read_scores(Path(file), shapes)
    return evidence.by_element(group, f"scores:{file}", evidence.given[file].get)


def read_scores(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """Arrays by parameter name, as double precision.

    Raises UsageError if the file can't be read, names a parameter the model doesn't have, or has scores of another
    shape or that aren't finite.
    """
    try:
        check_unpacked(path)
        with np.load(path, allow_pickle=False) as loaded:
            found = {name: np.asarray(loaded[name]) for name in loaded.files}
    except UNREADABLE as error:
        raise UsageError(
            f"the scores '{path}' can't be read as an .npz file: {why_unread(error)}; save them with numpy.savez"
        ) from error
    for name, values in found.items():
        if name not in shapes:
            raise UsageError(
                f"the scores '{path}' name '{name}', which this model doesn't have; name the arrays as its parameters"
            )
        if values.shape != shapes[name]:
            raise UsageError(
                f"the scores of '{name}' in '{path}' have shape {values.shape}, the parameter {shapes[name]}; "
                "give one for each of its elements"
            )
        if values.dtype.kind not in "fiu" or not np.isfinite(values.astype(np.float64)).all():
            raise UsageError(f"the scores of '{name}' in '{path}' are not finite numbers; replace NaN and infinity")
    if not found:
        raise UsageError(f"the scores '{path}' hold no array; save one for each parameter")
    return {name: values.astype(np.float64) for name, values in found.items()}
