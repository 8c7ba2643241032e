"""What an input of a model is: rules on its type, shape, name and first operators; the first that fits holds."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import onnx

from spa_cli.calibration.dead_leaves import dead_leaves
from spa_cli.calibration.kinds import Input, Kind
from spa_cli.calibration.noises import frames, noise, signals, sounds
from spa_cli.calibration.ranges import stated
from spa_cli.graph.model import Array, Graph
from spa_cli.runtime.caches import is_state, pasts
from spa_cli.runtime.follows import follows
from spa_cli.runtime.inputs import input_dtype

_SAME_VALUES = frozenset({"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Expand"})
# sizes from which an axis is one of a picture, of a signal, of frames
_PICTURE, _SIGNAL, _FRAMES = 8, 256, 16


def kind_of(question: Input) -> Kind:
    """What an input is taken for."""
    return next(kind for rule in RULES if (kind := rule(question)) is not None)


def _strings(x: Input) -> Kind | None:
    """Text: one letter, the same everywhere."""
    if x.element != onnx.TensorProto.STRING:
        return None
    return Kind("constant strings", lambda count, shape, _: np.full((count, *shape), "a", object))


def _followers(x: Input) -> Kind | None:
    """What follows from the shapes of the inputs: positions, lengths of what is new and of what went before."""
    found = follows(x.graph, x.name, {x.name: (1, *x.shape), **x.shapes})
    if found is None:
        return None
    return Kind(found.about, lambda count, shape, _: np.broadcast_to(found.value, (count, *shape)))


def _switches(x: Input) -> Kind | None:
    """One truth value a run: either."""
    if not (x.boolean and x.scalar):
        return None
    return Kind("true and false", lambda count, _, rng: rng.integers(0, 2, count))


def _masks(x: Input) -> Kind | None:
    """A mask of any type: ones, nothing is masked."""
    if not x.boolean and "mask" not in x.name.lower():
        return None
    return Kind("ones", lambda count, shape, _: np.ones((count, *shape)))


def _rates(x: Input) -> Kind | None:
    """The rate of an audio signal: 16 kHz, which most speech models know."""
    if x.floating or not x.named("sr|sample_?rate|sampling_?rate") or x.shape not in ((), (1,)):
        return None
    return Kind("16000 Hz", lambda count, shape, _: np.full((count, *shape), 16000))


def _lengths(x: Input) -> Kind | None:
    """A length: that of the longest other input, where one number a sample is asked for."""
    if x.floating or not x.named("lengths?|lens?|seq_?lens?|num_?frames") or x.shape not in ((), (1,)):
        return None
    longest = max((shape[-1] if len(shape) < 2 else max(shape[:2]) for shape in x.others if shape), default=1)
    return Kind(f"length {longest}", lambda count, shape, _: np.full((count, *shape), longest))


def _segments(x: Input) -> Kind | None:
    """Types of tokens: the first part of every text 0, what follows 1."""
    if x.floating or not x.shape or not re.search("token_?type|segment", x.name.lower()):
        return None

    def draw(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        first = rng.integers(1, shape[-1] + 1, (count, *[1] * len(shape)))
        return np.broadcast_to(np.arange(shape[-1]) >= first, (count, *shape)).astype(np.int64)

    return Kind("zeros, then ones", draw)


def _times(x: Input) -> Kind | None:
    """Whole steps of a diffusion: below 1000."""
    if x.floating or not x.named("time_?steps?") or x.shape not in ((), (1,)):
        return None
    return Kind("steps below 1000", lambda count, shape, rng: rng.integers(0, 1000, (count, *shape)))


def _shares(x: Input) -> Kind | None:
    """One number a run, or a sample by that name (a threshold, a time): between 0 and 1."""
    by_name = x.named("threshold|time_?steps?|t|strength|noise_?level|temperature") and x.shape in ((), (1,))
    if not x.floating or not (x.scalar or by_name):
        return None
    return Kind("numbers between 0 and 1", lambda count, shape, rng: rng.uniform(0, 1, (count, *shape)), doubtful=True)


def _states(x: Input) -> Kind | None:
    """A state, a cache: an empty past where it may be; else that of a start, zeros, and noise as what comes after."""
    if not is_state(x.graph, x.name):
        return None
    if 0 in x.shape:
        return Kind("an empty past", lambda count, shape, _: np.zeros((count, *shape)))

    def draw(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        values = rng.standard_normal((count, *shape), np.float32)
        values[::2] = 0
        return values

    axis = pasts(x.graph).get(x.name)
    what = "a state" if axis is None else f"a past of length {x.shape[axis - 1]}"
    return Kind(f"{what}: zeros and noise", draw, doubtful=True)


def _tokens(x: Input) -> Kind | None:
    """Rows of a table, or classes: few of them often, as Zipf's law has it."""
    size = _vocabulary(x.graph, x.name)
    if not size:
        return None
    return _zipf(size, doubtful=False)


def _pictures(x: Input) -> Kind | None:
    """Pictures: three axes, or whole numbers on two that no table is read with; the first operators say the range."""
    signal = x.named("mels?|mel_?spec\\w*|spec\\w*|fbanks?|mfccs?|audio")
    if len(x.shape) != 3 or min(sorted(x.shape)[1:]) < _PICTURE or (signal and min(x.shape) > 4) or x.boolean:
        return None
    last = x.shape[-1] <= 4 < x.shape[0]

    def draw(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        channels, height, width = (shape[2], shape[0], shape[1]) if last else shape
        images = dead_leaves(count, channels, height, width, rng)
        return np.moveaxis(images, 1, -1) if last else images

    span = stated(x.prepared, not x.floating)
    kind = np.dtype(input_dtype(x.element)).name if not x.floating else ""
    because = "; ".join(filter(None, (kind, x.prepared.because)))
    about = "dead leaves" if span is None else f"dead leaves, {span.about} ({because})"
    return Kind(about, draw, () if span is None else (span,), 3 if last else 1)


def _sounds(x: Input) -> Kind | None:
    """A waveform, by its name: 1/f noise, loud and soft, within -1 and 1."""
    if not x.floating or len(x.shape) > 2 or not x.shape or x.shape[-1] < _SIGNAL:
        return None
    if not x.named("wav\\w*|audio\\w*|input_?audio|speech|pcm|sound|voice"):
        return None
    return Kind("1/f noise between -1 and 1", sounds, noise=True)


def _vectors(x: Input) -> Kind | None:
    """Numbers that the first operators standardise, each by its own constants: of that mean and deviation."""
    found = x.prepared
    if not x.floating or not x.shape or found.plain or found.limits is not None:
        return None
    if found.mean is not None and found.deviation is not None:
        mean, deviation = (found.mean - found.shift) / found.slope, found.deviation / abs(found.slope)
    else:
        mean, deviation = -found.shift / found.slope, 1 / abs(found.slope)
    if max(mean.size, deviation.size) != x.shape[-1] or x.shape[-1] < 2:
        return None

    def draw(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return np.asarray(mean + deviation * rng.standard_normal((count, *shape)))

    return Kind(f"normal noise of the stored mean and deviation ({found.because})", draw, noise=True)


def _quantised(x: Input) -> Kind | None:
    """Numbers that are quantised first: within what the quantiser can say."""
    if not x.floating or x.prepared.limits is None:
        return None
    low, high = x.prepared.limits
    draw, words = (signals, "1/f noise") if x.shape and x.shape[-1] >= _SIGNAL else (noise, "normal and uniform noise")

    def inside(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return np.asarray(low + (high - low) * np.clip(0.5 + 0.25 * draw(count, shape, rng), 0, 1))

    return Kind(f"{words} between {low:.3g} and {high:.3g} ({x.prepared.because})", inside, noise=True)


def _frames(x: Input) -> Kind | None:
    """Frames of features: noise that is smooth along both axes."""
    if not x.floating or len(x.shape) != 2 or min(x.shape) < _FRAMES or max(x.shape) >= 8 * _SIGNAL:
        return None
    return Kind("noise smooth over frames and features", frames, doubtful=True, noise=True)


def _signals(x: Input) -> Kind | None:
    """A long last axis: a signal."""
    if not x.floating or not x.shape or len(x.shape) > 2 or x.shape[-1] < _SIGNAL:
        return None
    return Kind("1/f noise", signals, doubtful=True, noise=True)


def _anything(x: Input) -> Kind | None:
    """Floats of which nothing is known."""
    return Kind("normal and uniform noise", noise, doubtful=True, noise=True) if x.floating else None


def _integers(x: Input) -> Kind | None:
    """Whole numbers of which nothing is known: 0 and 1, which any table has."""
    return _zipf(2, doubtful=True)


RULES: tuple[Callable[[Input], Kind | None], ...] = (
    _strings,
    _followers,
    _switches,
    _masks,
    _rates,
    _lengths,
    _segments,
    _times,
    _shares,
    _states,
    _tokens,
    _pictures,
    _sounds,
    _vectors,
    _quantised,
    _frames,
    _signals,
    _anything,
    _integers,
)


def _zipf(size: int, doubtful: bool) -> Kind:
    def draw(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return np.asarray((rng.zipf(1.2, (count, *shape)) - 1) % size)

    return Kind(f"Zipf tokens below {size}", draw, doubtful=doubtful)


def _vocabulary(graph: Graph, name: str) -> int:
    """Rows of the smallest table that the input indexes, or classes that it is spread to; 0 if there are none."""
    sizes, seen, waiting = list[int](), {name}, [name]
    while waiting:
        at = waiting.pop()
        # (a node may read it twice, or only in a body)
        readers = ((n, place) for n in graph.consumers.get(at, []) for place, i in enumerate(n.inputs) if i == at)
        for node, place in readers:
            table = ""
            if node.op == "Gather" and place == 1:
                table = node.inputs[0]
            elif node.op == "EmbedLayerNormalization" and place < 2:
                table = node.input(2 if place == 0 else 4)
            elif node.op == "OneHot" and place == 0 and node.input(1) in graph.parameters:
                sizes.append(int(graph.array(node.inputs[1]).ravel()[0]))
            elif node.op in _SAME_VALUES and place == 0 and node.outputs[0] not in seen:
                seen.add(node.outputs[0])
                waiting.append(node.outputs[0])
            if table in graph.parameters:
                axis = int(node.attr("axis", 0))
                sizes.append(int(graph.shape(table)[axis]))
    return min(sizes, default=0)
