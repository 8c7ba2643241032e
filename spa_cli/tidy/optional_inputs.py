"""Weights that are graph inputs too: whoever runs the model could feed others, so nothing can be folded or fused."""

from __future__ import annotations

from math import prod

import onnx

from spa_cli.graph.source import Source
from spa_cli.tidy.draft import Draft, remove

# before it, initializers had to be inputs, and no runtime took that for a choice
OPTIONAL_SINCE = 4


def optional_inputs(model: onnx.ModelProto) -> list[str]:
    """Graph inputs that need not be fed, since an initializer is their default."""
    stored = {t.name for t in model.graph.initializer} | {s.values.name for s in model.graph.sparse_initializer}
    return [v.name for v in model.graph.input if v.name in stored]


def by_habit(source: Source) -> bool:
    """Whether an exporter listed what is stored among the inputs, and not its author what may well be fed.

    A threshold, or the state that a network starts with, is little of all that is stored.
    """
    model = source.model
    if model.ir_version < OPTIONAL_SINCE:
        return False
    sizes = {t.name: prod(t.dims) for t in model.graph.initializer}
    sizes |= {s.values.name: prod(s.values.dims) for s in model.graph.sparse_initializer}
    listed = sum(sizes[name] for name in set(optional_inputs(model)))
    return bool(2 * listed > sum(sizes.values()))


def untidy(source: Source, advice: str = "--tidy takes {} off the inputs") -> str:
    """What should be said where they keep onnxruntime from folding and fusing, "" where they don't."""
    count = len(optional_inputs(source.model)) if source.model.ir_version >= OPTIONAL_SINCE else 0
    if not count:
        return ""
    said, them = ("1 weight is also an input", "it") if count == 1 else (f"{count} weights are also inputs", "them")
    return (
        f"{said}, so that onnxruntime may neither fold nor fuse {them} and can be several times slower; "
        f"{advice.format(them)}"
    )


def take_off(draft: Draft) -> int:
    """Weights that are graph inputs too are initializers alone."""
    names = set(optional_inputs(draft.model))
    remove(draft.graph.input, [at for at, v in enumerate(draft.graph.input) if v.name in names])
    return len(names)
