"""The steps, in order, until none of them finds anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import onnx

from spa_cli.errors import UsageError
from spa_cli.graph.source import Source
from spa_cli.runtime.fold import fold
from spa_cli.tidy.batch_norm import fold_batch_norms
from spa_cli.tidy.constants import fold_constants
from spa_cli.tidy.draft import Draft
from spa_cli.tidy.idle import skip_idle
from spa_cli.tidy.optional_inputs import OPTIONAL_SINCE, take_off
from spa_cli.tidy.repeats import merge_repeats
from spa_cli.tidy.transposes import join_transposes
from spa_cli.tidy.unused import remove_unused

# by name: what does it, and what is said of so many
STEPS: dict[str, tuple[Callable[[Draft], int], str]] = {
    "inputs": (take_off, "weights off the inputs"),
    "idle": (skip_idle, "idle nodes"),
    "constants": (fold_constants, "constant nodes"),
    "transposes": (join_transposes, "Transpose joined"),
    "batch-norms": (fold_batch_norms, "BatchNormalization folded"),
    "repeats": (merge_repeats, "repeated constants"),
    "unused": (remove_unused, "unused"),
}
# what one step leaves another finds; a graph that is not done by then is as good as done
_ROUNDS = 100


def tidied(source: Source, steps: Iterable[str] = tuple(STEPS)) -> Source:
    """``source`` with a model of its own, tidied; ``tidied`` says how much each of the ``steps`` that did anything did.

    Names of inputs, outputs and remaining nodes stay; weights that nothing was done to stay where they are. Raises
    UsageError for a step that there is none of.
    """
    unknown = [name for name in steps if name not in STEPS]
    if unknown:
        raise UsageError(f"there is no way to tidy called '{unknown[0]}'; use one of {', '.join(STEPS)}")
    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    counts = dict.fromkeys(steps, 0)
    for _ in range(_ROUNDS):
        found = {name: STEPS[name][0](Draft(model, source.folder)) for name in counts}
        counts = {name: counts[name] + found[name] for name in counts}
        if not any(found.values()):
            break
    done = {name: count for name, count in counts.items() if count}
    given = source.given if source.given is not None or source.path else source.model
    made = replace(source, model=model, given=given, tidied=done, warnings=[*source.warnings])
    if not done:
        return made
    # what is stored from now on need not be an input
    model.ir_version = max(model.ir_version, OPTIONAL_SINCE)
    if "inputs" in done:
        made.warnings.append(
            f"{done['inputs']} weights can no longer be fed: they were also inputs (--tidy), as whose defaults they stay"
        )
        # weights that are computed from others were none as long as those could be fed
        fold(made)
    return made


def told(counts: dict[str, Any]) -> str:
    """What was done, in a line."""
    return ", ".join(f"{count} {STEPS[name][1]}" for name, count in counts.items())
