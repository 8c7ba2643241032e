"""The repair walk: dense and pruned network side by side, node by node, every layer refitted on the way.

In topological order; a layer sees the *pruned* network's activations and is asked for the *dense* network's outputs
(less what the other branch of a residual sum already gives), so it absorbs the errors made before it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import onnx

from spa_cli.graph.model import Array, Graph, captured_names
from spa_cli.obspa.layers import (
    RECURRENT,
    Layer,
    features,
    kernel_of,
    norm_scale,
    positions,
    sample_rows,
    values_at,
)
from spa_cli.obspa.refit import Rows, refit
from spa_cli.obspa.side import Side
from spa_cli.surgery.cut import Cut

_HELD_BACK = 0.25


@dataclass
class Repair:
    """What the walk did: layers refitted (with the damping chosen), layers that kept their sliced weights and why."""

    refitted: dict[str, float] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)


def walk(graph: Graph, work: Cut, layers: list[Layer], chunks: list[dict[str, Array]], seed: int, limit: int) -> Repair:
    """Refit the layers of ``work.model`` in place, from ``limit`` positions of each sample."""
    report = Repair()
    rng = np.random.default_rng(seed)
    dense, pruned = Side(graph.model, graph.folder, chunks), Side(work.model, graph.folder, chunks)
    by_node = {layer.key: layer for layer in layers}
    dense_nodes = {o: n.proto for n in graph.nodes for o in n.outputs if o}
    uses = Counter(i for n in graph.nodes for i in {*n.inputs, *captured_names(n.proto)})
    for proto in _schedule(graph, work.model, by_node):
        outputs = [o for o in proto.output if o]
        original = dense_nodes.get(outputs[0]) if outputs else None
        if original is None:
            pruned.run(proto)
            continue
        layer = by_node.get(outputs[0])
        if layer is not None:
            _repair_layer(layer, work, dense, pruned, rng, report, limit)
        dense.run(original)
        pruned.run(proto)
        for name in {*original.input, *captured_names(original)}:
            uses[name] -= 1
            if uses[name] == 0 and name not in graph.outputs:
                dense.values.pop(name, None)
                pruned.values.pop(name, None)
    return report


def _schedule(graph: Graph, model: onnx.ModelProto, layers: dict[str, Layer]) -> list[onnx.NodeProto]:
    """Nodes in a topological order in which the other branch of a sum comes before the layer that ends this one."""
    producer = {o: i for i, n in enumerate(model.graph.node) for o in n.output if o}
    needs = [{producer[i] for i in {*n.input, *captured_names(n)} if i in producer} for n in model.graph.node]
    done: set[int] = set()
    order: list[onnx.NodeProto] = []

    def visit(start: int) -> None:
        stack = [start]
        while stack:
            at = stack[-1]
            if at in done:
                stack.pop()
                continue
            open_ = sorted(needs[at] - done)
            node = model.graph.node[at]
            layer = next((layers[o] for o in node.output if o in layers), None)
            if not open_ and layer is not None and layer.other in producer and at not in asked:
                asked.add(at)
                if not _depends(needs, producer[layer.other], set(stack)):
                    open_ = [producer[layer.other]]
            if open_:
                stack += open_[::-1]
                continue
            stack.pop()
            done.add(at)
            order.append(node)

    asked: set[int] = set()
    for i in range(len(model.graph.node)):
        visit(i)
    return order


def _depends(needs: list[set[int]], node: int, on: set[int]) -> bool:
    """Whether ``node`` needs any of ``on``, directly or not."""
    seen, stack = set[int](), [node]
    while stack:
        at = stack.pop()
        if at in on:
            return True
        if at not in seen:
            seen.add(at)
            stack += needs[at]
    return False


def _repair_layer(
    layer: Layer, work: Cut, dense: Side, pruned: Side, rng: np.random.Generator, report: Repair, limit: int
) -> None:
    """Refit one layer to the dense targets, given the pruned inputs."""
    if layer.x not in dense.values or layer.x not in pruned.values:
        return
    w_dense, w0 = dense.parameter(layer.weight), pruned.parameter(layer.weight)
    if w_dense is None or w0 is None:
        return
    with_other = layer.join is not None and layer.other in dense.values and layer.node.op != "ConvTranspose"
    same_input = all(
        a.shape == b.shape and np.array_equal(a, b)
        for a, b in zip(dense.values[layer.x], pruned.values[layer.x], strict=True)
    )
    if same_input and not with_other:
        return
    if layer.node.op in ("MatMul", "Gemm") and work.shape(layer.x)[0] != work.old_shape(layer.x)[0]:
        report.kept[layer.node.label] = "its rows are channels that were cut"
        return
    has_place = bool(layer.norm or (layer.bias and pruned.parameter(layer.bias) is not None))
    if layer.node.op == "ConvTranspose":
        has_place = False
    fit, held = list[Rows](), list[Rows]()
    groups = _groups(layer, w0, pruned, work)
    for chunk in range(len(dense.values[layer.x])):
        x, low, high = _rows(layer, work, dense, pruned, chunk, rng, with_other, groups, limit)
        samples = min(len(dense.values[layer.x][chunk]), x.shape[1])
        per_sample = x.shape[1] // max(samples, 1)
        # of every four samples one is held back, of chunks too small for that every fourth
        every = samples < 4 and chunk % 4 == 3
        cut = x.shape[1] if samples < 4 else round(samples * (1 - _HELD_BACK)) * per_sample
        fit_rows, held_rows = (slice(0), slice(None)) if every else (slice(cut), slice(cut, None))
        fit.append(Rows(x[:, fit_rows], low[:, fit_rows], high[:, fit_rows]))
        held.append(Rows(x[:, held_rows], low[:, held_rows], high[:, held_rows]))
    if not sum(h.x.shape[1] for h in held):
        report.kept[layer.node.label] = "no samples could be held back"
        return
    matrix = layer.matrix(w0.astype(np.float64), groups)
    bias = pruned.parameter(layer.bias) if layer.bias else None
    b0 = np.zeros(matrix.shape[:2])
    if bias is not None and layer.node.op != "ConvTranspose":
        b0 = bias.astype(np.float64).reshape(b0.shape)
    found = refit(Rows.joined(fit), Rows.joined(held), matrix, b0, has_place)
    if found is None:
        report.kept[layer.node.label] = "no fit did better on held-back samples"
        return
    w, b, damping = found
    scale = norm_scale(layer, pruned.parameter)
    if scale is not None:
        dead = (np.abs(scale[0]) < 1e-6 * max(np.abs(scale[0]).max(), 1e-12)).reshape(b0.shape)
        w[dead], b[dead] = matrix[dead], b0[dead]
    pruned.write(layer.weight, layer.restore(w, w0, groups))
    for between in layer.casts:
        pruned.run(between.proto)
    if layer.bias and bias is not None and has_place:
        pruned.write(layer.bias, b.reshape(bias.shape))
    elif scale is not None and layer.norm is not None:
        beta = pruned.parameter(layer.norm.inputs[2])
        assert beta is not None
        pruned.write(layer.norm.inputs[2], beta + scale[0] * b.reshape(-1))
    report.refitted[layer.node.label] = damping


def _groups(layer: Layer, w0: Array, pruned: Side, work: Cut) -> int:
    if layer.groups == 1:
        return 1
    if layer.node.op == "ConvTranspose":
        return int(work.attribute(layer.node, "group") or 1)
    return int(pruned.values[layer.x][0].shape[1] // w0.shape[1])


def _rows(
    layer: Layer,
    work: Cut,
    dense: Side,
    pruned: Side,
    chunk: int,
    rng: np.random.Generator,
    with_other: bool,
    groups: int,
    limit: int,
) -> tuple[Array, Array, Array]:
    """(x' of the pruned layer, what its contraction should give) at sampled positions: (g, n, p), (g, n, o)."""
    x_dense, x_pruned = _aligned(layer, work, layer.x, dense.values[layer.x][chunk]), pruned.values[layer.x][chunk]
    weight = dense.parameter(layer.weight)
    assert weight is not None
    kernel = kernel_of(layer, weight.shape)
    rows = sample_rows(positions(layer, x_dense.shape, kernel), limit, rng)
    rows_dense = features(layer, x_dense, rows, layer.groups, kernel).astype(np.float32)
    x = features(layer, x_pruned, rows, groups, kernel).astype(np.float32)
    matrix = layer.matrix(weight.astype(np.float32), layer.groups)
    y = np.matmul(rows_dense, matrix.transpose(0, 2, 1))  # (g, n, o/g)
    if layer.node.op == "ConvTranspose":
        t = y[:, :, _kept_taps(layer, work, weight)][_kept_groups(layer, work)]
        return x, t, t
    y = np.moveaxis(y, 0, 1).reshape(y.shape[1], -1)
    if layer.node.op in RECURRENT:
        # what the gates get from the input, for the units that stay
        kept_units = np.tile(work.kept_mask(layer.weight, 1), weight.shape[0])
        t = y[:, kept_units].reshape(1, len(y), -1)
        return x, t, t
    bias = dense.value(layer.bias or layer.fixed_bias, chunk)
    if bias is not None:
        y = y + bias.reshape(-1).astype(np.float32)
    axis = 1 if kernel or layer.node.op == "Conv" else len(work.old_shape(layer.output)) - 1
    kept = np.flatnonzero(work.kept_mask(layer.output, axis))
    before, after = norm_scale(layer, dense.parameter), norm_scale(layer, pruned.parameter)
    if before is not None and after is not None:
        s, mean, beta = before
        z = (s * (y - mean) + beta)[:, kept]
    else:
        z = y[:, kept]
    ours: Array | None = None
    if with_other:
        theirs = values_at(layer, _aligned(layer, work, layer.other, dense.values[layer.other][chunk]), rows)
        ours = values_at(layer, pruned.values[layer.other][chunk], rows)
        if theirs.shape == y.shape and ours.shape == z.shape:
            z = z + theirs[:, kept]
        else:
            ours = None
    low, high = z, z
    if layer.below is not None:
        low, high = np.where(z <= layer.below, np.float32(-np.inf), z), np.where(z <= layer.below, np.float32(layer.below), z)
    if layer.above is not None:
        low, high = np.where(z >= layer.above, np.float32(layer.above), low), np.where(z >= layer.above, np.float32(np.inf), high)
    if ours is not None:
        low, high = low - ours, high - ours
    if before is not None and after is not None:
        s, mean, beta = after
        safe = np.where(np.abs(s) < 1e-12, 1.0, s)
        low, high = (low - beta) / safe + mean, (high - beta) / safe + mean
        low, high = np.minimum(low, high), np.maximum(low, high)
    fixed = pruned.value(layer.fixed_bias, chunk)
    if fixed is not None:
        low, high = low - fixed.reshape(-1), high - fixed.reshape(-1)
    low, high = (v.astype(np.float32).reshape(len(z), groups, -1).transpose(1, 0, 2) for v in (low, high))
    return x, low, high


def _aligned(layer: Layer, work: Cut, name: str, value: Array) -> Array:
    """A dense tensor at the positions that stay (token mixing: the rows of one layer are the channels of another)."""
    if layer.node.op in ("MatMul", "Gemm"):
        for axis in range(1, value.ndim - 1):
            mask = work.kept_mask(name, axis)
            if len(mask) == value.shape[axis] and not mask.all():
                value = np.compress(mask, value, axis)
    return value


def _kept_taps(layer: Layer, work: Cut, weight: Array) -> Array:
    """Which of the (M/g, *k) columns of a transposed convolution stay."""
    taps = int(np.prod(weight.shape[2:]))
    return np.flatnonzero(np.repeat(work.kept_mask(layer.weight, 1), taps))


def _kept_groups(layer: Layer, work: Cut) -> Array:
    return np.flatnonzero(work.kept_mask(layer.weight, 0).reshape(layer.groups, -1).any(1))
