"""The regression problem of one layer: what it reads in the pruned network, what it should give."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.obspa.epilogue import OPEN, norm_scale, per_row
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.observations import Observations
from spa_cli.obspa.unfit import Unfit
from spa_cli.runtime.interpreter import Interpreter
from spa_cli.surgery.cut import Cut

# of every sample that is fitted to, how many are held back to judge by
_HELD_BACK = 0.25


def fitted(samples: int, chunk: int) -> int:
    """How many of a chunk's samples are fitted to, the rest held back; of chunks too small for that every fourth."""
    if samples >= 4:
        return round(samples * (1 - _HELD_BACK))
    return 0 if chunk % 4 == 3 else samples


class Regression:
    """Observations of one layer, chunk by chunk; ``matrix`` (g, o, p) and ``offset`` (g, o) are what it has now."""

    def __init__(self, layer: Layer, work: Cut, dense: Interpreter, pruned: Interpreter, operand: Array) -> None:
        self._layer, self._work, self._dense, self._pruned = layer, work, dense, pruned
        groups = layer.groups(pruned.values[layer.x].shape(0), operand.shape)
        if layer.transposed:
            # not the layer's own node, which may be of a copy of the original (standardise.py)
            groups = next((a.i for a in pruned.node(layer.node).attribute if a.name == "group"), 1)
        self._operand = operand
        self.matrix = layer.matrix(operand, groups)
        around = layer.around
        # a constant is all that is left of the other branch: it may take up what that gave
        self._held = pruned.parameter(work.held.get(around.target, "")) if around.join else None
        other = around.other in dense.values and around.other in pruned.values
        self.joined = bool(around.other) and (other or self._held is not None)
        self._norms = norm_scale(around.norm, dense.parameter), norm_scale(around.norm, pruned.parameter)
        bias = around.bias.value(pruned.parameter, work.shape) if around.bias else None
        self.bias = None if bias is None or bias.size != self.matrix[..., 0].size else bias
        self.offset = np.zeros(self.matrix.shape[:2])
        if self.bias is not None and not layer.transposed:
            self.offset = layer.beta * self.bias.reshape(self.offset.shape)
        # a transposed convolution and the gates of a recurrent layer are solved without an intercept
        self.centred = not (layer.transposed or layer.recurrent) and (around.norm is not None or self.bias is not None)

    @property
    def scale(self) -> Array | None:
        """Factor of the BatchNorm behind the layer, per output (g, o)."""
        after = self._norms[1]
        return None if after is None else per_row(after[0], self.offset.shape)

    def as_stored(self, matrix: Array) -> Array:
        """The matrix (g, o, p) that is left of another one when it is stored: half precision or integers round it."""
        layer = self._layer
        stored = layer.stored.back(layer.restore(matrix, self._operand.shape), self._pruned.parameter)

        def read(name: str) -> Array | None:
            return stored if name == layer.stored.name else self._pruned.parameter(name)

        value = layer.weight(read, self._work.shape)
        assert value is not None
        return layer.matrix(value, len(self.matrix))

    def rows(self, chunk: int, rows: Array | None) -> Observations:
        """These positions of each sample of a chunk (see ``Positions``); raises Unfit where networks don't align."""
        layer, groups = self._layer, len(self.matrix)
        x = self._pruned.values[layer.x][chunk]
        inputs = layer.inputs_at(x, rows, groups).astype(np.float32, copy=False)
        if layer.transposed or layer.recurrent:
            target = self._columns(chunk, rows)
            if target.shape[:2] != inputs.shape[:2]:
                raise Unfit("its input was cut")
            return Observations(inputs, target, target)
        low, high = self.allowed(chunk, lambda value: layer.outputs_at(value, rows, groups).astype(np.float32))
        if low.shape != (*inputs.shape[:2], self.matrix.shape[1]):
            raise Unfit("its output can't be aligned with the original's")
        low, high = self._before_norm(low, high)
        fixed = self._pruned.value(layer.around.fixed_bias, chunk)
        shift = None if fixed is None else self._fixed(fixed, chunk, rows)

        def single(bound: Array) -> Array:
            return (bound if shift is None else bound - shift).astype(np.float32, copy=False)

        return Observations.of(inputs, (low, high), single)

    def allowed(self, chunk: int, pick: Callable[[Array], Array]) -> tuple[Array, Array]:
        """The least and the greatest value that is as good as the dense one, behind the norm; where no other is, the
        same array twice.

        Of the values that ``pick`` takes of a tensor shaped like the output; less what the other branch gives.
        Raises Unfit where the two networks can't be aligned.
        """
        around = self._layer.around
        if around.join is self._layer.node and not self.joined:
            raise Unfit("what it adds is not at hand")
        name = around.target if self.joined else around.after_norm
        wanted = aligned(self._work, name, self._dense.values[name][chunk])
        if not self._layer.gives(wanted):
            raise Unfit("its output can't be aligned with the original's")
        z = pick(wanted)
        low, high = z, z
        if around.flat != OPEN and (self.joined or not around.join):
            below, above = np.float32(around.flat[0]), np.float32(around.flat[1])
            low = np.where(z >= above, above, np.where(z <= below, np.float32(-np.inf), z))
            high = np.where(z <= below, below, np.where(z >= above, np.float32(np.inf), z))
        if self.joined:
            held = None if self._held is None else np.broadcast_to(self._held, np.shape(wanted))
            other = self._pruned.values[around.other][chunk] if held is None else held
            if np.shape(other) != np.shape(wanted):
                raise Unfit("the branch it meets has another shape")
            ours, one = pick(other), low is high
            low = low - ours
            high = low if one else high - ours
        return low, high

    def _before_norm(self, low: Array, high: Array) -> tuple[Array, Array]:
        after = self._norms[1]
        if after is None:
            return low, high
        s, mean, beta = (v.astype(np.float32).reshape(len(low), 1, -1) for v in after)
        safe = np.where(np.abs(s) < 1e-12, np.float32(1), s)
        if low is high:
            low = (low - beta) / safe + mean
            return low, low
        low, high = (low - beta) / safe + mean, (high - beta) / safe + mean
        return np.minimum(low, high), np.maximum(low, high)

    def _fixed(self, fixed: Array, chunk: int, rows: Array | None) -> Array:
        layer, groups = self._layer, len(self.matrix)
        if layer.conv:
            return layer.beta * fixed.reshape(groups, 1, -1).astype(np.float32)
        like = self._pruned.values[layer.x][chunk]
        width = self.matrix.shape[0] * self.matrix.shape[1]
        whole = np.broadcast_to(fixed, (*like.shape[:-1], width)) if like.ndim == 2 else fixed
        return layer.beta * layer.outputs_at(whole, rows, groups).astype(np.float32)

    def _columns(self, chunk: int, rows: Array | None) -> Array:
        """What the dense contraction alone gives, for the outputs that stay."""
        layer, work = self._layer, self._work
        operand = layer.weight(self._dense.parameter, work.old_shape)
        assert operand is not None
        x = self._dense.values[layer.x][chunk]
        groups = layer.groups(x.shape, operand.shape)
        matrix = layer.matrix(operand, groups).astype(np.float32)
        y = np.matmul(layer.inputs_at(x, rows, groups).astype(np.float32), matrix.transpose(0, 2, 1))
        if layer.recurrent:
            return np.asarray(y[:, :, np.tile(work.kept_mask(layer.operand, 1), operand.shape[0])])
        taps = int(np.prod(operand.shape[2:]))
        kept = np.flatnonzero(np.repeat(work.kept_mask(layer.operand, 1), taps))
        alive = work.kept_mask(layer.operand, 0).reshape(groups, -1).any(1)
        return np.asarray(y[:, :, kept][alive])


def aligned(work: Cut, name: str, value: Array) -> Array:
    """A value of a dense tensor without what was cut of it; raises Unfit where that can't be said index by index."""
    entry = work.kept_indices(name)
    if any(kept and isinstance(kept[0], list) for kept in entry.values()):
        raise Unfit("its blocks keep different channels along another axis")
    for axis in map(int, entry):
        mask = work.kept_mask(name, axis)
        if len(mask) != value.shape[axis]:
            raise Unfit("its positions depend on the batch")
        value = np.compress(mask, value, axis)
    return value
