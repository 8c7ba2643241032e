"""How much the network's own outputs feel what a layer gives: in which directions, and at which positions.

An error ``e`` of a layer's output moves the outputs ``z`` by ``J e``; they feel it as ``e^T J^T D J e``. No labels say
what matters in ``z``, so ``D`` is made of the outputs alone: an element counts by how far it is from the mean of its
channel (a detector's objects, not its background; the tokens and classes that were decided on), a channel by the root
of its variance. With signs ``s`` drawn at random, ``g = J^T D^(1/2) s`` has the second moment ``J^T D J``
(Hutchinson 1990): one run of the adjoint network a sample.

``metric`` is that moment over positions, ``G = E[g g^T]``: with it saliency is ``tr(G W_c V_cc^-1 W_c^T)``, the
Kronecker-factored form of the loss's curvature (Martens and Grosse 2015). What its scale says of layers is weighed with
what their errors are relative to (``directions``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from spa_cli.adjoints.network import adjoint
from spa_cli.calibration.chunks import fixed_size, samples_in
from spa_cli.engines.pool import ahead
from spa_cli.errors import SpreadError
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.graph.shapes import Shapes
from spa_cli.memory import portion
from spa_cli.obspa.cholesky import factored
from spa_cli.obspa.layers import Layer, graph_shape
from spa_cli.obspa.passes import Asked, Part, Passes
from spa_cli.operators.labels import axis_of
from spa_cli.progress import tracked
from spa_cli.runtime.floats import last_floats
from spa_cli.runtime.said import said

# outputs of a layer up to which directions among them are told apart: it takes their square, and its roots their cube
_WIDEST, _SHARE = 4096, 1 / 8
# axes of an output that gives a sample one answer: samples, and its numbers
ONE_ANSWER = 2
# bytes of gradients that a run gives, and the part of the memory that those of several take
_BYTES, _AT_ONCE = 256_000_000, 1 / 4
_REARRANGING = frozenset({"Reshape", "Flatten", "Squeeze", "Transpose", "Identity", "Cast"})
_SATURATING = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "Tanh"})


@dataclass
class Sensitivity:
    """``metric``: (g, o, o) per layer, where there is one (not of very wide ones). ``chances``: per layer and chunk of
    samples how likely each position is to be looked at, (n, positions), a sample's adding up to 1.
    ``missing``: layers without gradients, and why.
    """

    metric: dict[str, Array] = field(default_factory=dict)
    chances: dict[str, list[Array]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def packed(self) -> dict[str, Array]:
        """All of it as arrays."""
        about = {
            "metric": [*self.metric],
            "chances": {k: len(c) for k, c in self.chances.items()},
            "missing": self.missing,
        }
        arrays = {f"metric/{i}": value for i, value in enumerate(self.metric.values())}
        for i, own in enumerate(self.chances.values()):
            arrays |= {f"chances/{i}/{at}": value for at, value in enumerate(own)}
        return {**arrays, "about": np.array(json.dumps(about))}

    @staticmethod
    def unpacked(arrays: Mapping[str, Array]) -> Sensitivity:
        """What was ``packed``."""
        about = json.loads(str(arrays["about"]))
        metric = {key: arrays[f"metric/{i}"] for i, key in enumerate(about["metric"])}
        chances = {
            key: [arrays[f"chances/{i}/{at}"] for at in range(count)]
            for i, (key, count) in enumerate(about["chances"].items())
        }
        return Sensitivity(metric, chances, about["missing"])


def sensitivity(
    graph: Graph, shapes: Shapes, layers: list[Layer], chunks: list[dict[str, Array]], seed: int
) -> Sensitivity:
    """Of the layers, measured on all samples, where outputs have positions: nothing where a sample gets one answer.

    There directions order channels no better: at 0.7 of the MACs MobileNetV2 keeps 74.6 % with them and 75.6
    without, ResNet-20 88.0 and 87.5 at half, ResNet-56 the same 89.1 at a third (``make bench-ablation``). Nor do
    layers compare better (``directions``). ``missing`` names all layers where the adjoint network does not run.
    """
    outputs = [_spread(graph, shapes, _unsaturated(graph, name)) for name in last_floats(graph, shapes)]
    outputs = [*dict.fromkeys(outputs)]
    if not any(_has_positions(shapes, name) for name in outputs):
        return Sensitivity()
    back = adjoint(graph, shapes, [layer.key for layer in layers], outputs)
    known = [layer for layer in layers if layer.key in back.gradients and not layer.recurrent and not layer.transposed]
    if not known:
        return Sensitivity(missing=back.missing)
    free = not any(fixed_size(graph, name) for name in graph.inputs)
    parts = list(_parts(chunks, _each(known, shapes), free))
    try:
        groups = [layer.groups(*(graph_shape(graph, shapes, n) for n in (layer.x, layer.operand))) for layer in known]
        narrow = _narrow(known, shapes)
        asked = [Asked(k, g, back.gradients[k.key], k.key in narrow) for k, g in zip(known, groups, strict=True)]
        passes = Passes(graph, outputs, back, asked, parts)
        metric, chances = _measured(passes, asked, parts, np.random.default_rng(seed))
    except SpreadError:
        # it is not the network that does not run
        raise
    except Exception as error:  # noqa: BLE001 - whatever onnxruntime raises: the layers are scored without
        return Sensitivity(missing={layer.key: said(error) for layer in layers})
    return Sensitivity(metric, chances, back.missing)


def _unsaturated(graph: Graph, output: str) -> str:
    """What an output is made of, where that is squeezed into a range: there certain answers have no slope."""
    node = graph.producers.get(output)
    while node is not None and node.op in _SATURATING and not node.domain and node.inputs[0] not in graph.inputs:
        output = node.inputs[0]
        node = graph.producers.get(output)
    return output


def _spread(graph: Graph, shapes: Shapes, output: str) -> str:
    """What an output is made of, where positions lie among its samples or channels: there they are still told apart."""
    found = output
    while (node := graph.producers.get(found)) is not None and not _has_positions(shapes, found):
        if node.domain or not (node.op in _REARRANGING or _of_channels(shapes, node)):
            return output
        found = node.inputs[0]
    return found if _several(shapes, found) else output


def _has_positions(shapes: Shapes, name: str) -> bool:
    return len(shapes.shape.get(name) or ()) > ONE_ANSWER


def _several(shapes: Shapes, name: str) -> bool:
    shape = shapes.shape.get(name) or ()
    return any(size != 1 for size in (shape[2:] if len(shape) > ONE_ANSWER + 1 else shape[1:-1]))


def _of_channels(shapes: Shapes, node: Node) -> bool:
    """Whether a node takes some of the channels of every position."""
    whole, part = (shapes.shape.get(name) or () for name in (node.inputs[0], node.outputs[0]))
    return node.op == "Slice" and whole[:-1] == part[:-1]


def _each(layers: list[Layer], shapes: Shapes) -> int:
    """Bytes that the gradients of a sample take."""
    sizes = (shapes.shape.get(layer.key) or () for layer in layers)
    return max(1, sum(4 * math.prod(d or 1 for d in size[1:]) for size in sizes))


def _parts(chunks: list[dict[str, Array]], each: int, free: bool) -> Iterator[Part]:
    """Chunks, cut where their gradients would take too much and the batch is ``free``."""
    size = max(1, _BYTES // each)
    for at, chunk in enumerate(chunks):
        count = samples_in(chunk)
        cuts = free and size < count and all(np.ndim(v) and len(v) == count for v in chunk.values())
        for start in range(0, count, size) if cuts else [0]:
            yield Part({n: v[start : start + size] for n, v in chunk.items()} if cuts else chunk, at)


def _measured(
    passes: Passes, asked: list[Asked], parts: list[Part], rng: np.random.Generator
) -> tuple[dict[str, Array], dict[str, list[Array]]]:
    """Sums over samples and positions of ``g g^T`` (g, o, o), and the chances of positions, chunk by chunk."""
    moments, chances = dict[str, Array](), dict[str, list[Array]]()
    progress = tracked(parts)
    for run in ahead(passes.begun(rng), room=portion(_AT_ONCE) // _BYTES - 1):
        part = next(progress)
        for each, (total, chance) in zip(asked, passes.pool.get(run), strict=True):
            key = each.layer.key
            if total is not None:
                moments[key] = moments.get(key, 0.0) + total.astype(np.float64)
            if chance is not None:
                own = chances.setdefault(key, [])
                if len(own) > part.chunk:
                    own[part.chunk] = np.concatenate([own[part.chunk], chance])
                else:
                    own.append(chance)
    next(progress, None)
    # squares of large gradients are more than single precision holds
    sound = {key for key, own in chances.items() if all(np.isfinite(c).all() for c in own)}
    metric = {key: total for key, total in moments.items() if np.isfinite(total).all()}
    return metric, {key: own for key, own in chances.items() if key in sound}


def _narrow(layers: list[Layer], shapes: Shapes) -> set[str]:
    """Layers of which directions are told apart, by key: the narrowest, as many as memory allows."""
    found, room = set[str](), portion(_SHARE)
    for layer in sorted(layers, key=partial(_outputs, shapes=shapes)):
        width = _outputs(layer, shapes)
        room -= 8 * width**2
        if width > _WIDEST or room < 0:
            break
        found.add(layer.key)
    return found


def _outputs(layer: Layer, shapes: Shapes) -> int:
    axes = [axis_of(layer.terms.y, label) for label in layer.terms.outer]
    shape = shapes.shape.get(layer.key) or ()
    return math.prod(int(shape[axis] or 1) for axis in axes if axis < len(shape))


def root(metric: Array) -> Array:
    """``R`` (o, o) with ``R^T R = G``, of any rank."""
    try:
        return factored(metric.astype(np.float64)).T
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(metric)
        return np.asarray(np.sqrt(np.maximum(values, 0))[:, None] * vectors.T)
