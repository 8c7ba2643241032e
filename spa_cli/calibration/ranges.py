"""How pixels become what an image input takes: the usual ranges, and what the first operators say of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spa_cli.graph.model import Array, Graph, Node

# light of photographs, from 0 to 255, and how it varies; of ImageNet's channels, which many networks subtract
MIDDLE, SPREAD = 118.0, 66.0
_MEAN, _DEVIATION = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
_PASSING = frozenset(
    {
        *("Cast", "CastLike", "Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
        *("Gather", "Slice", "Dropout", "Pad", "Expand"),
    }
)


@dataclass(frozen=True, eq=False)
class Range:
    """``(pixels - offset) / scale``, with pixels from 0 to 255; one number, or one a channel."""

    about: str
    offset: Array
    scale: Array

    def of(self, pixels: Array, axis: int) -> Array:
        """What the input takes; ``axis`` is that of the channels."""
        shape = [1] * pixels.ndim
        shape[axis] = -1
        fits = self.offset.size in (1, pixels.shape[axis])
        offset, scale = ((v if fits else v.mean(keepdims=True)).reshape(shape) for v in (self.offset, self.scale))
        return np.asarray((pixels - offset.astype(np.float32)) / scale.astype(np.float32), np.float32)


def plain(about: str, offset: object, scale: object) -> Range:
    """A range of numbers."""
    return Range(about, np.atleast_1d(np.asarray(offset, float)), np.atleast_1d(np.asarray(scale, float)))


UNIT = plain("pixels 0 to 1", 0, 255)
SIGNED = plain("pixels -1 to 1", 127.5, 127.5)
NORMAL = plain("pixels less their mean, by their deviation", _MEAN, _DEVIATION)
PIXELS = plain("pixels 0 to 255", 0, 1)
CENTRED = plain("pixels 0 to 255 less their mean", _MEAN, 1)


@dataclass(frozen=True, eq=False)
class Preparation:
    """What is done to an input before anything is learnt: ``slope * x + shift``, in words, and where it ends.

    ``mean``, ``deviation``: of what comes out, where a normalisation stores them. ``limits``: those of a quantiser.
    """

    slope: Array
    shift: Array
    steps: tuple[str, ...] = ()
    mean: Array | None = None
    deviation: Array | None = None
    limits: tuple[float, float] | None = None

    @property
    def because(self) -> str:
        """The steps, for a message."""
        return ", ".join(self.steps)

    @property
    def plain(self) -> bool:
        """Whether nothing is done that tells a range."""
        return self.limits is None and self.mean is None and bool((self.slope == 1).all() and (self.shift == 0).all())


def preparation(graph: Graph, name: str) -> Preparation:
    """Follow an input through casts, changes of shape and sums and products with constants."""
    found, at = Preparation(np.ones(1), np.zeros(1)), name
    while (node := graph.only_reader(at)) is not None and node.inputs and found.mean is None and found.limits is None:
        step = _step(graph, node, at, found)
        if step is None:
            break
        found, at = step, node.outputs[0]
    return found


def stated(found: Preparation, whole: bool) -> Range | None:
    """The range that a preparation is made for, ``None`` if it doesn't tell; ``whole``: the input takes integers."""
    if found.limits is not None:
        low, high = found.limits
        return plain(f"pixels {low:.3g} to {high:.3g}", -255 * low / (high - low), 255 / (high - low))
    if found.mean is not None and found.deviation is not None:
        scale = SPREAD * found.slope / found.deviation
        return plain(
            "pixels of the stored mean and deviation", MIDDLE - (found.mean - found.shift) / found.slope * scale, scale
        )
    if whole:
        return PIXELS
    return None if found.plain else min((PIXELS, UNIT, SIGNED), key=lambda each: _strange(found, each))


def _strange(found: Preparation, given: Range) -> float:
    """How far from a middle of 0 and a deviation of about 1 such pixels would come out."""
    slope, shift = found.slope / given.scale, found.shift - found.slope * given.offset / given.scale
    middle, spread = np.mean(slope * MIDDLE + shift), np.mean(abs(slope)) * SPREAD + 1e-12
    return float(abs(np.log(spread)) + abs(middle) / spread)


def _step(graph: Graph, node: Node, at: str, found: Preparation) -> Preparation | None:
    """What is known behind ``node``; ``None`` where preparation ends."""
    slope, shift, steps = found.slope, found.shift, found.steps
    if node.op in _PASSING and node.inputs[0] == at:
        return Preparation(slope, shift, (*steps, "Cast") if node.op == "Cast" else steps)
    if node.op == "ImageScaler":
        scale, bias = float(node.attr("scale", 1)), np.asarray(node.attr("bias", [0.0]), float)
        return Preparation(slope * scale, shift * scale + bias, (*steps, node.op))
    if node.op in ("Scaler", "BatchNormalization", "QuantizeLinear", "DequantizeLinear"):
        return _normalised(graph, node, found)
    others = [i for i in node.inputs if i != at]
    if node.op not in ("Add", "Sub", "Mul", "Div") or len(node.inputs) != 2 or len(others) != 1:
        return None
    value = _numbers(graph, others[0])
    if value is None or (value.size != 1 and slope.size not in (1, value.size)):
        return None
    steps = (*steps, f"{node.op} {_words(value)}")
    backwards = node.inputs[1] == at
    if node.op == "Add":
        return Preparation(slope, shift + value, steps)
    if node.op == "Sub":
        return Preparation(-slope, value - shift, steps) if backwards else Preparation(slope, shift - value, steps)
    if node.op == "Mul":
        return Preparation(slope * value, shift * value, steps) if value.all() else None
    return Preparation(slope / value, shift / value, steps) if value.all() and not backwards else None


def _normalised(graph: Graph, node: Node, found: Preparation) -> Preparation | None:
    """Behind an operator that stores what its input is like."""
    slope, shift, steps = found.slope, found.shift, (*found.steps, node.op)
    if node.op == "Scaler":
        offset, factor = (np.asarray(node.attr(k, [v]), float) for k, v in (("offset", 0.0), ("scale", 1.0)))
        return Preparation(slope, shift, steps, offset, 1 / np.where(factor == 0, np.inf, factor))
    values = [_numbers(graph, i) if i else None for i in node.inputs[1:]]
    if node.op == "BatchNormalization":
        mean, variance = values[2:4]
        if mean is None or variance is None:
            return None
        return Preparation(slope, shift, steps, mean, np.sqrt(variance) + 1e-6)
    scale, zero = values[0], values[1] if node.input(2) else np.zeros(1)
    if scale is None or zero is None or scale.size > 1:
        return None
    if node.op == "DequantizeLinear":
        return Preparation(slope * scale, (shift - zero) * scale, steps)
    kind = graph.array(node.inputs[2]).dtype if node.input(2) else np.dtype(np.uint8)
    if kind.kind not in "iu":
        return None
    low, high = (float((limit - zero[0]) * scale[0]) for limit in (np.iinfo(kind).min, np.iinfo(kind).max))
    ends = sorted(float((end - shift.mean()) / slope.mean()) for end in (low, high))
    return Preparation(slope, shift, steps, limits=(ends[0], ends[1]))


def _numbers(graph: Graph, name: str) -> Array | None:
    """The values of a constant, flat; ``None`` if it is none."""
    return graph.array(name).astype(float).ravel() if name in graph.parameters else None


def _words(value: Array) -> str:
    """A constant in a message: one number, up to four, or how many."""
    if len({*value.tolist()}) == 1:
        return f"{value[0]:.3g}"
    return " ".join(f"{v:.3g}" for v in value) if value.size <= 4 else f"{value.size} numbers"
