"""What a user has in memory, or their function gave, as one array per input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from spa_cli.calibration.check import rank_of, samples_of
from spa_cli.calibration.filling import alone, needed
from spa_cli.calibration.samples import Samples, joined, label_name, too_many
from spa_cli.errors import UsageError
from spa_cli.graph.model import Array, Graph
from spa_cli.memory import working_memory
from spa_cli.progress import LOG

_FORMS = (
    "a dict with an array per input (and labels), batches or samples of them one after the other, or pairs with a label"
)


def gather(given: Any, graph: Graph, where: str, limit: int | None) -> Samples:
    """From a dict of arrays (samples along axis 0, perhaps with ``labels``), a pair of such and labels, or an iterable
    of dicts, of arrays for a single input, or of (dict or array, label) pairs: batches, or samples of one axis less.

    An iterable is taken no further than ``limit`` samples, or what fits in memory. Raises UsageError for anything else.
    """
    whole = [given]
    if isinstance(given, Mapping) or hasattr(given, "__array__") or _is_pair(given):
        items: Iterable[Any] = whole
    elif isinstance(given, Iterable) and not isinstance(given, str | bytes):
        items = given
    elif hasattr(type(given), "__getitem__") and hasattr(given, "__len__") and not isinstance(given, str | bytes):
        # a data set of PyTorch says how many it has, and need not stop there
        items = (given[at] for at in range(len(given)))
    else:
        raise UsageError(f"'{where}' gave a {type(given).__name__}; it has to give {_FORMS}")
    required = needed(graph)
    parts: dict[str, list[Array]] = {}
    labels: list[Array | UsageError | None] = []
    count, size, more = 0, 0, False
    for number, item in enumerate(items):
        full = size >= working_memory()
        if items is not whole and (full or (limit is not None and count >= limit)):
            more = True
            if full:
                LOG.warning("%s", too_many(count, limit or "all"))
            break
        data, label = _split(item, graph, where)
        batch = {n: _batch(n, a, graph, where, number) for n, a in data.items() if n in graph.inputs}
        lacking = [n for n in required if n not in batch]
        if lacking:
            if items is whole:
                raise UsageError(
                    f"'{where}' lacks input '{lacking[0]}', it has {', '.join(data)}; "
                    "give an array under each input's name"
                )
            raise UsageError(
                f"item {number} of '{where}' lacks input '{lacking[0]}', it has {', '.join(data)}; "
                "give every input in every item"
            )
        for name, (array, _) in batch.items():
            parts.setdefault(name, []).append(array)
        single = any(alone for _, alone in batch.values())
        labels.append(label[None] if label is not None and single else label)
        count += len(next(iter(batch.values()))[0])
        size += sum(array.nbytes for array, _ in batch.values())
    if not parts:
        raise UsageError(f"'{where}' gave no samples; it has to give {_FORMS}")
    try:
        stacked = {n: np.concatenate(arrays) for n, arrays in parts.items()}
    except ValueError as error:
        raise UsageError(
            f"what '{where}' gave does not fit together: {error}; give batches of one shape but for axis 0"
        ) from error
    most = limit if items is not whole else None
    found = joined(labels, [f"item {i} of '{where}'" for i in range(len(labels))], where)
    kept = found if found is None or isinstance(found, UsageError) else found[:most]
    return samples_of(
        {n: a[:most] for n, a in stacked.items()}, graph, where, f"{where} (its first)" if more else where, kept
    )


def _is_pair(given: Any) -> bool:
    """(data, labels) as a whole, not two items that follow each other."""
    return isinstance(given, tuple) and len(given) == 2 and not isinstance(given[1], Mapping | tuple)


def _split(item: Any, graph: Graph, where: str) -> tuple[dict[str, Array], Array | None]:
    """An item's arrays by input, and its label."""
    label = None
    # torch's loaders give lists, of one where there are no labels
    if isinstance(item, tuple | list) and len(item) == 2 and not (isinstance(item, list) and _numbers(item)):
        item, label = item[0], as_array(item[1])
    elif isinstance(item, tuple | list) and len(item) == 1 and not _numbers(item):
        item = item[0]
    if isinstance(item, Mapping):
        data = {str(name): as_array(value) for name, value in item.items()}
        name = label_name(data, graph)
        return data, data.pop(name) if name is not None and label is None else label
    array = as_array(item)
    # two of one shape may be tokens and their mask, which is no label
    twins = label is not None and len(graph.inputs) > 1 and label.shape == array.shape
    if (only := alone(graph)) is None or twins:
        raise UsageError(
            f"'{where}' gives arrays without names, the model has {len(graph.inputs)} inputs; give dicts that name "
            f"{', '.join(graph.inputs)}"
        )
    return {only: array}, label


def _batch(name: str, array: Array, graph: Graph, where: str, number: int) -> tuple[Array, bool]:
    """(1, ...) of a single sample, (n, ...) of a batch; whether it was single."""
    rank = rank_of(graph.inputs[name])
    if rank is not None and array.ndim == rank - 1:
        return array[None], True
    if array.ndim != (rank or max(array.ndim, 1)):
        raise UsageError(
            f"item {number} of '{where}' has shape {array.shape} for input '{name}', which takes {rank} axes; give "
            "batches of that many, or samples of one less"
        )
    return array, False


def _numbers(item: Sequence[Any]) -> bool:
    """Whether it is a sample as it stands, not data and perhaps a label."""
    return all(isinstance(value, int | float) for value in item)


def as_array(value: Any) -> Array:
    """Also of a tensor that a gradient or another device holds, or of a type that NumPy has not."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if str(getattr(value, "dtype", "")).endswith("bfloat16"):
        value = value.float() if hasattr(value, "float") else value.astype(np.float32)
    return np.asarray(value)
