"""What one chunk of samples gives to the sums of every layer: made where the chunk is, and of nothing else.

Rows that are worth a product are multiplied there; of few rows the product is larger than they are, and they wait for
others with whoever adds up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from spa_cli.errors import UsageError
from spa_cli.graph.model import Array
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.moments import Moments, Product, Shift, enough, far
from spa_cli.runtime.portable import InParts, Portable, Weights
from spa_cli.runtime.said import said
from spa_cli.runtime.store import Kept, Store

# of a layer's input and of its units, as far as they are known
Shifts: TypeAlias = tuple[Shift | None, Shift | None]
_UNKNOWN: Shifts = (None, None)


class Reading(NamedTuple):
    """A layer, in how many ``groups`` it is looked at, and the zero point of its input."""

    layer: Layer
    groups: int
    zero: Array | None

    @property
    def units(self) -> str:
        """What a recurrent layer gives, "" if that is not asked for."""
        return self.layer.node.outputs[0] if self.layer.recurrent else ""


@dataclass(frozen=True)
class Gathered:
    """``rows`` (g, n, p) or their product, from so many ``samples``; so of recurrent ``units``. ``totals``: see
    ``_channel_sums``, by tensor.
    """

    rows: Array | Product | None = None
    samples: int = 0
    units: Array | Product | None = None
    sequences: int = 0
    totals: dict[str, Array] = field(default_factory=dict)


def whole(network: Portable, weights: Weights | None, names: Sequence[str], chunk: dict[str, Array]) -> dict[str, Any]:
    """These tensors of a chunk, and the chunk."""
    if not names:
        return chunk
    network.open(weights)
    with _running():
        return {**chunk, **dict(zip(names, network.run(names, chunk), strict=True))}


def part(network: InParts, number: int, chunk: dict[str, Array], before: Mapping[str, Kept]) -> dict[str, Any]:
    """What a stretch fetches of a chunk, and the chunk."""
    with _running():
        return {**chunk, **network.run(number, chunk, before)}


@contextmanager
def _running() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise UsageError(
            f"the model does not run on one of the calibration samples ({said(error)}); give samples it takes"
        ) from error


def left(values: Mapping[str, Any], names: Sequence[str], before: Mapping[str, Kept], store: Store) -> dict[str, Kept]:
    """What is read later, at rest."""
    return {name: before[name] if name in before else store.put(values[name]) for name in names}


def shapes_of(readings: Mapping[int, Reading], values: Mapping[str, Any]) -> dict[int, tuple[int, ...]]:
    """Shapes of what layers read, of those that are as declared."""
    found = {}
    for i, reading in readings.items():
        x = np.asarray(values[reading.layer.x])
        if reading.layer.takes(x):
            found[i] = x.shape
    return found


def gathered(
    readings: Mapping[int, Reading],
    values: Mapping[str, Any],
    rows: Mapping[int, Array | None],
    shifts: Mapping[int, Shifts] | None,
) -> Iterator[tuple[int, Gathered]]:
    """What the chunk that gives these ``values`` adds to every layer.

    ``rows``: the positions that are looked at, of layers that are. ``shifts``: ``None`` for the first chunk, which says
    them.
    """
    for i, reading in readings.items():
        layer, known = reading.layer, _UNKNOWN if shifts is None else shifts[i]
        units, sequences = None, 0
        if reading.units:
            # (steps, directions, batch, h)
            steps = np.moveaxis(values[reading.units], 1, 0)
            sequences = steps.shape[2]
            units = _summed(steps.reshape(len(steps), -1, steps.shape[-1]), known[1], shifts is None)
        if i not in rows:
            yield i, Gathered(units=units, sequences=sequences)
            continue
        x = np.asarray(values[layer.x])
        taken = _summed(layer.inputs_at(x, rows[i], reading.groups, reading.zero), known[0], shifts is None)
        yield i, Gathered(taken, layer.samples(x.shape), units, sequences, _totals(layer, values, rows[i]))


def _summed(x: Array, shift: Shift | None, first: bool) -> Array | Product:
    x = x.astype(np.float32, copy=False)
    if not enough(x) or not (first or shift is not None):
        return x
    return Product.of(x, far(x) if shift is None else shift.value)


def add(moments: Moments, rows: Array | Product | None, samples: int) -> None:
    """Add what a chunk gave."""
    if isinstance(rows, Product):
        moments.add_product(rows, samples)
    elif rows is not None:
        moments.add(rows, samples)


def _totals(layer: Layer, values: Mapping[str, Any], rows: Array | None) -> dict[str, Array]:
    after = values[layer.around.after_norm]
    if layer.recurrent or not layer.gives(after):
        return {}
    drawn = rows if rows is not None and rows.ndim == 2 else None
    names = {layer.around.target, layer.around.after_norm}
    return {n: _channel_sums(layer, values[n], drawn) for n in names if values[n].shape == after.shape}


def _channel_sums(layer: Layer, value: Array, rows: Array | None) -> Array:
    """(3, channels): count, sum and sum of squares per output channel."""
    if rows is None and (layer.conv or layer.transposed):
        each = value.reshape(*value.shape[:2], -1).astype(np.float32, copy=False)
        count, first = float(len(each) * each.shape[2]), each.sum(2)
        second = np.einsum("ncp,ncp->nc", each, each)
        return np.stack([np.full(each.shape[1], count), *(s.sum(0, dtype=np.float64) for s in (first, second))])
    whole = layer.outputs_at(value, rows, 1)
    groups, _, width = whole.shape
    flat = np.moveaxis(whole, 0, 1).reshape(-1, groups * width).astype(np.float64)
    return np.stack([np.full(flat.shape[1], float(len(flat))), flat.sum(0), np.square(flat).sum(0)])
