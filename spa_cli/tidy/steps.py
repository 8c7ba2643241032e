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
from spa_cli.tidy.reshapes import settle_reshapes
from spa_cli.tidy.transposes import join_transposes
from spa_cli.tidy.unused import remove_unused

# by name: what does it, and what is said of so many
STEPS: dict[str, tuple[Callable[[Draft], int], str]] = {
    "inputs": (take_off, "off the inputs"),
    "idle": (skip_idle, "idle"),
    "constants": (fold_constants, "constant"),
    "reshapes": (settle_reshapes, "Reshape settled"),
    "transposes": (join_transposes, "Transpose joined"),
    "repeats": (merge_repeats, "repeated"),
    "unused": (remove_unused, "unused"),
    "batch-norms": (fold_batch_norms, "BatchNormalization folded"),
}
# it waits for the result: what a norm was trained to tells what a network takes, and a repair sets it anew
LAST = "batch-norms"
FIRST = tuple(name for name in STEPS if name != LAST)
# what is done unasked: it changes nothing that is computed, and without it a small model may be the slower one
UNASKED = "inputs"
# what one step leaves another finds; a graph that is not done by then is as good as done
_ROUNDS = 100


def tidied(source: Source, steps: Iterable[str] = FIRST) -> Source:
    """``source`` with a model of its own, tidied; its ``tidied`` says how much each of the ``steps`` did that did any.

    Names of inputs, outputs and remaining nodes stay; weights that nothing is done to stay where they are. The last
    step is for the result, and is not taken here. Raises UsageError for a step that there is none of.
    """
    unknown = [name for name in steps if name not in STEPS]
    if unknown:
        raise UsageError(f"there is no way to tidy called '{unknown[0]}'; use one of {', '.join(STEPS)}")
    model = _copy(source.model)
    done = _taken(model, source.folder, [name for name in steps if name != LAST])
    given = source.given if source.given is not None or source.path else source.model
    made = replace(source, model=model, given=given, tidied=done, warnings=[*source.warnings])
    if "inputs" in done:
        made.warnings.append(
            "1 weight was also an input, was taken off, and can no longer be fed"
            if done["inputs"] == 1
            else f"{done['inputs']} weights were also inputs, were taken off, and can no longer be fed"
        )
        # weights that are computed from others were none as long as those could be fed
        fold(made)
    return made


def with_norms_folded(model: onnx.ModelProto, folder: str) -> tuple[onnx.ModelProto, int]:
    """A copy of a result after the last step, and how many norms were folded; ``folder``: where its weights lie."""
    copy = _copy(model)
    return copy, _taken(copy, folder, [LAST, "unused"]).get(LAST, 0)


def told(counts: dict[str, Any]) -> str:
    """What was done, in a line."""
    return ", ".join(f"{count} {STEPS[name][1]}" for name, count in counts.items())


def _taken(model: onnx.ModelProto, folder: str, steps: list[str]) -> dict[str, int]:
    """Take the steps until none finds anything, in place; how much each did that did any."""
    counts = dict.fromkeys(steps, 0)
    for _ in range(_ROUNDS):
        found = {name: STEPS[name][0](Draft(model, folder)) for name in counts}
        counts = {name: counts[name] + found[name] for name in counts}
        if not any(found.values()):
            break
    done = {name: count for name, count in counts.items() if count}
    if done:
        # what is stored from now on need not be an input
        model.ir_version = max(model.ir_version, OPTIONAL_SINCE)
    return done


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
