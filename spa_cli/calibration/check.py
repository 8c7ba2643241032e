"""Whether arrays are what a model takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from spa_cli.calibration.filling import filled
from spa_cli.calibration.samples import Samples
from spa_cli.errors import UsageError
from spa_cli.graph.finite import not_finite
from spa_cli.graph.model import Array, Graph
from spa_cli.runtime.inputs import input_dims, input_dtype


def rank_of(info: onnx.ValueInfoProto) -> int | None:
    """Axes of a batch of this input (an input without any takes one number per sample); ``None`` if not declared."""
    dims = input_dims(info)
    return None if dims is None else len(dims) or 1


def samples_of(
    arrays: Mapping[str, Array], graph: Graph, where: str, about: str, labels: Array | UsageError | None = None
) -> Samples:
    """Samples of what ``arrays`` hold, with what they need not hold (``filling``).

    ``where``: their name in a message; ``about``: that in what is told of them. Raises UsageError as ``checked`` does.
    """
    whole, clause = filled(arrays, graph)
    return Samples(checked(whole, graph, where), about + clause, labels)


def checked(arrays: Mapping[str, Array], graph: Graph, where: str) -> dict[str, Array]:
    """The graph's inputs, (n, ...) each.

    Raises UsageError if one is missing, has the wrong shape, holds no numbers or none that are finite, or if their
    numbers of samples differ.
    """
    missing = [n for n in graph.inputs if n not in arrays]
    if missing:
        raise UsageError(
            f"the calibration data '{where}' lacks input '{missing[0]}', it has {', '.join(arrays) or 'nothing'}; "
            "name its arrays as the inputs"
        )
    for name, info in graph.inputs.items():
        _check(where, name, arrays[name], info)
    counts = {len(arrays[n]) for n in graph.inputs}
    if len(counts) > 1:
        raise UsageError(
            f"the inputs in '{where}' have different numbers of samples: {sorted(counts)}; give as many for each"
        )
    return {n: arrays[n] for n in graph.inputs}


def _check(where: str, name: str, array: Array, info: onnx.ValueInfoProto) -> None:
    dims = input_dims(info)
    if dims == []:
        dims = [""]  # one number per sample
    if dims is None and array.ndim == 0:
        raise UsageError(
            f"calibration data for input '{name}' in '{where}' is a single number; stack samples on axis 0"
        )
    if dims is not None:
        fits = array.ndim == len(dims) and all(
            i == 0 or not isinstance(d, int) or d == s for i, (d, s) in enumerate(zip(dims, array.shape, strict=True))
        )
        if not fits:
            takes = ", ".join(str(d) or "any" for d in dims)
            raise UsageError(
                f"calibration data for input '{name}' in '{where}' has shape {array.shape}, the model takes ({takes}); "
                "give samples of that shape, as many as you like on axis 0"
            )
    if array.dtype.kind not in "fiub" and info.type.tensor_type.elem_type != onnx.TensorProto.STRING:
        raise UsageError(
            f"calibration data for input '{name}' in '{where}' is of type {array.dtype}; convert it to numbers"
        )
    if len(array) == 0:
        raise UsageError(f"calibration data for input '{name}' in '{where}' holds no samples; give at least one")
    if odd := not_finite(array):
        raise UsageError(
            f"calibration data for input '{name}' in '{where}' holds {odd} (the first is the sample, counted from 0); "
            "take samples with NaN or infinity out"
        )
    kind = np.dtype(input_dtype(info.type.tensor_type.elem_type))
    if (lost := _beyond(array, kind)) is not None:
        raise UsageError(
            f"calibration data for input '{name}' in '{where}' holds {array.flat[lost]:g} in sample "
            f"{np.unravel_index(lost, array.shape)[0]}, which {kind} can't hold; give what the model takes"
        )


def _beyond(array: Array, kind: np.dtype[Any]) -> int | None:
    """Where in a flat array a number is too large for what the model takes, or too small; ``None`` if nowhere."""
    if array.dtype.kind not in "fiu" or kind.kind == "b" or np.can_cast(array.dtype, kind):
        return None
    limits: Any = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    beyond = (array > np.float64(limits.max)) | (array < np.float64(limits.min))
    return int(beyond.argmax()) if beyond.any() else None
