"""The repair walk: dense and pruned network side by side, node by node, every layer refitted on the way.

In topological order; a layer sees the *pruned* network's activations and is asked for the *dense* network's outputs
(less what the other branch of a residual sum already gives), so it absorbs the errors made before it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from spa_cli.calibration.chunks import positions
from spa_cli.graph.bodies import captured_names
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.graph.view import flattened
from spa_cli.obspa.layers import INTEGERS, Layer
from spa_cli.obspa.pairs import Pair, find_pairs
from spa_cli.obspa.positions import Positions
from spa_cli.obspa.recalibrate import Affine, find_affines, recalibrate
from spa_cli.obspa.recurrence import Recurrence, followed
from spa_cli.obspa.refine import refine
from spa_cli.obspa.refit import Fit, Observations, refit
from spa_cli.obspa.regression import Regression, fitted
from spa_cli.obspa.schedule import schedule
from spa_cli.obspa.shrinkage import POSITIONS
from spa_cli.obspa.statistics import WIDEST
from spa_cli.obspa.unfit import Unfit
from spa_cli.progress import tracked
from spa_cli.runtime.interpreter import Interpreter
from spa_cli.runtime.store import Store
from spa_cli.surgery.cut import Cut

# bytes of rows of one layer that are held at once; fewer positions are looked at beyond that
_ROW_BYTES = 600_000_000
# steps of all sequences that a recurrent layer is fitted to
_STEPS = 20_000


@dataclass
class Repair:
    """What the walk did.

    ``refitted``: layers with new weights and the damping chosen; ``refined``: those of them changed once more for what
    the next layer gives; ``shifted``: layers and norms with a new offset (and scale) only; ``kept``: layers that kept
    their sliced weights, and why.
    """

    refitted: dict[str, float] = field(default_factory=dict)
    refined: list[str] = field(default_factory=list)
    shifted: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


def walk(
    graph: Graph, work: Cut, layers: list[Layer], chunks: list[dict[str, Array]], where: Positions, memory: float
) -> Repair:
    """Refit the layers of ``work.model`` in place; activations take ``memory`` bytes, the rest of them go to disk."""
    report = Repair()
    store = Store(memory)
    dense, pruned = (Interpreter(m, graph.folder, chunks, store) for m in (graph.model, work.model))
    by_node = {layer.key: layer for layer in layers}
    affines = find_affines(graph, layers)
    dense_nodes = {o: n for n in graph.nodes for o in n.outputs if o}
    reads = _reads(graph, work)
    for each in layers:
        reads[each.key].add(each.x)
    pairs = find_pairs(graph, layers)
    # the first layer of a pair runs once more when the second has been fitted
    again = {key: reads[key] | pair.needs for key, pair in pairs.items()}
    uses = Counter(i for names in reads.values() for i in names)
    later = Counter(i for key, names in reads.items() for i in again.get(key, names))
    left = _to_visit(layers, affines, work)
    tried = set[str]()
    for proto in tracked(schedule(work.model, by_node)):
        outputs = [o for o in proto.output if o]
        original = dense_nodes.get(outputs[0]) if outputs else None
        if not left:
            break
        if original is None:
            pruned.run(proto)
            continue
        left.discard(outputs[0])
        _run_ahead(dense, graph, original)
        layer = by_node.get(outputs[0])
        if layer is not None:
            members = [by_node[key] for key in layer.siblings]
            if members and not tried.intersection(layer.siblings):
                tried.update(layer.siblings)
                _repair_together(graph, members, work, dense, pruned, where, report)
            _repair_layer(graph, layer, work, dense, pruned, where, report)
            pair = pairs.get(layer.key)
            if pair is not None and _refine(pair, work, dense, pruned, report):
                for name in {o for node in pair.upper for o in node.outputs if not later[o]}:
                    pruned.drop(name)
                _repair_layer(graph, layer, work, dense, pruned, where, report)
        pruned.run(proto)
        affine = affines.get(outputs[0])
        if affine is not None and recalibrate(affine, work, dense, pruned):
            report.shifted.append(affine.node.label)
            pruned.run(proto, again=True)
        for side, readers, names in (
            (dense, uses, reads[outputs[0]]),
            (pruned, later, again.get(outputs[0], reads[outputs[0]])),
        ):
            for name in names:
                readers[name] -= 1
                if readers[name] == 0:
                    side.drop(name)
            for name in outputs:
                if not readers[name]:
                    side.drop(name)
    return report


def _to_visit(layers: list[Layer], affines: dict[str, Affine], work: Cut) -> set[str]:
    """First outputs of the nodes that are left at which something may be refitted: behind them nothing is run."""
    outputs = {next((o for o in n.output if o), "") for n in work.model.graph.node}
    return outputs & {*(layer.key for layer in layers), *affines}


def _reads(graph: Graph, work: Cut) -> dict[str, set[str]]:
    """What every node that is left reads, by its first output; and what the nodes read that were dropped before it."""
    left = {o for n in work.model.graph.node for o in n.output}
    reads: dict[str, set[str]] = {}
    dropped: dict[str, set[str]] = {}
    for node in graph.nodes:
        names = {*node.inputs, *captured_names(node.proto)}
        names |= {inner for name in names for inner in dropped.get(name, ())}
        for output in [o for o in node.outputs if o][:1]:
            (reads if output in left else dropped)[output] = names
    return reads


def _repair_layer(
    graph: Graph,
    layer: Layer,
    work: Cut,
    dense: Interpreter,
    pruned: Interpreter,
    where: Positions,
    report: Repair,
) -> None:
    """Refit one layer to the dense targets, given the pruned inputs."""
    if layer.x not in dense.values or layer.x not in pruned.values:
        return
    operand = layer.weight(pruned.parameter, work.shape)
    if operand is None:
        return
    declared = layer.takes(dense.peek([layer.x], 0)[0]) and layer.takes(pruned.values[layer.x][0])
    if layer.unfit == INTEGERS or not declared:
        report.kept[layer.node.label] = layer.unfit if declared else "its input has a rank that was not declared"
        return
    if layer.recurrent and followed(graph, layer) and layer.key in dense.values:
        if not work.changed(layer.node.inputs[2]) and _same(layer.x, dense, pruned):
            return
        damping = Recurrence(layer, work, dense, pruned, _STEPS).repair()
        if damping is None:
            report.kept[layer.node.label] = "no fit did better on held-back samples"
        else:
            report.refitted[layer.node.label] = damping
        return
    problem = Regression(layer, work, dense, pruned, operand)
    if layer.common or (not problem.joined and _same(layer.x, dense, pruned)):
        return
    _targets(graph, layer, problem, dense)
    if not (layer.conv or layer.transposed) and work.shape(layer.x)[:1] != work.old_shape(layer.x)[:1]:
        report.kept[layer.node.label] = "its rows are channels that were cut"
        return
    try:
        rows = _collect(layer, problem, len(dense.values[layer.x]), where, pruned)
    except Unfit as why:
        report.kept[layer.node.label] = str(why)
        return
    unfit = layer.unfit or ("it has too many inputs" if problem.matrix.shape[2] > WIDEST else "")
    samples = sum(fitted(layer.samples(s), at) for at, s in enumerate(pruned.values[layer.x].shapes))
    fixed = bool(unfit or layer.siblings)
    found = refit(*rows, problem.matrix, problem.offset, problem.centred, fixed, POSITIONS * samples)
    if found is None:
        if layer.node.label not in report.refitted:
            report.kept[layer.node.label] = unfit or "no fit did better on held-back samples"
        return
    _write(layer, problem, found, pruned, operand)
    if found.damping is not None:
        report.refitted[layer.node.label] = found.damping
    elif layer.node.label not in report.refitted:
        report.shifted.append(layer.node.label)


def _repair_together(
    graph: Graph,
    members: list[Layer],
    work: Cut,
    dense: Interpreter,
    pruned: Interpreter,
    where: Positions,
    report: Repair,
) -> None:
    """Refit a weight that several layers read to all of them; offsets of their own stay as they are."""
    first, parts, samples = members[0], list[tuple[Observations, Observations]](), 0
    operand = first.weight(pruned.parameter, work.shape)
    if operand is None or any(m.x not in dense.values or m.x not in pruned.values for m in members):
        return
    if all(_same(m.x, dense, pruned) for m in members):
        return
    try:
        for each in members:
            problem = Regression(each, work, dense, pruned, operand)
            _run_ahead(dense, graph, each.node)
            _targets(graph, each, problem, dense)
            found = _collect(each, problem, len(dense.values[each.x]), where, pruned, len(members))
            own = 0 * problem.offset if first.common else problem.offset
            parts.append((_less(found[0], own), _less(found[1], own)))
            samples += sum(fitted(each.samples(s), at) for at, s in enumerate(pruned.values[each.x].shapes))
    except Unfit as why:
        report.kept.update({m.node.label: str(why) for m in members})
        return
    problem = Regression(first, work, dense, pruned, operand)
    rows = [Observations.joined(side) for side in zip(*parts, strict=True)]
    offset = problem.offset if first.common else np.zeros_like(problem.offset)
    found_fit = refit(rows[0], rows[1], problem.matrix, offset, first.common, False, POSITIONS * samples)
    if found_fit is None:
        report.kept.update({m.node.label: "no fit did better on held-back samples" for m in members})
        return
    if first.common:
        _write(first, problem, found_fit, pruned, operand)
    for each in members if found_fit.damping is not None else ():
        _write_weight(each, found_fit.w, pruned, operand)
    if found_fit.damping is None:
        report.shifted += [m.node.label for m in members]
    else:
        report.refitted.update(dict.fromkeys((m.node.label for m in members), found_fit.damping))


def _less(rows: Observations, offset: Array) -> Observations:
    return replace(rows, low=rows.low - _wide(offset), high=rows.high - _wide(offset))


def _wide(offset: Array) -> Array:
    return offset[:, None].astype(np.float32)


def _targets(graph: Graph, layer: Layer, problem: Regression, dense: Interpreter) -> None:
    """Run what stands behind a layer in the dense network."""
    for node in layer.around.path[: None if problem.joined or not layer.around.join else -1]:
        _run_ahead(dense, graph, node)


def _refine(pair: Pair, work: Cut, dense: Interpreter, pruned: Interpreter, report: Repair) -> bool:
    """Change the first layer of a pair for what the second gives; whether it was changed."""
    first, second = pair.first, pair.second
    if first.x not in pruned.values or first.around.output not in pruned.values:
        return False
    a, b = (layer.weight(pruned.parameter, work.shape) for layer in (first, second))
    if a is None or b is None or first.node.label in report.kept or second.node.label not in report.refitted:
        return False
    lower = [second.node, *(n for n in second.around.path if n is not second.around.join)]
    if not pruned.can_run(pair.upper) or not pruned.can_run(lower):
        return False
    for node in lower:
        pruned.run(pruned.node(node))
    problem = Regression(first, work, dense, pruned, a)
    found = refine(pair, problem, Regression(second, work, dense, pruned, b), b, pruned)
    for node in lower:
        pruned.undo(pruned.node(node))
    if found is None:
        return False
    _write(first, problem, found, pruned, a)
    for node in pair.upper:
        pruned.run(pruned.node(node), again=True)
    report.refined.append(first.node.label)
    report.refitted.setdefault(first.node.label, found.damping or 0.0)
    if first.node.label in report.shifted:
        report.shifted.remove(first.node.label)
    return True


def _run_ahead(side: Interpreter, graph: Graph, node: Node) -> None:
    """Run a node before its turn, and first what it needs."""
    inside = {o for body in node.bodies for inner in flattened(body.nodes) for o in inner.outputs}
    for name in {*node.inputs, *captured_names(node.proto)} - inside:
        producer = graph.producers.get(name)
        if producer is not None and name not in side.values and side.parameter(name) is None:
            _run_ahead(side, graph, producer)
    side.run(node.proto)


def _same(name: str, dense: Interpreter, pruned: Interpreter) -> bool:
    return all(np.array_equal(dense.peek([name], at)[0], pruned.peek([name], at)[0]) for at in range(dense.count))


def _collect(
    layer: Layer, problem: Regression, chunks: int, where: Positions, pruned: Interpreter, sharing: int = 1
) -> tuple[Observations, Observations]:
    """Observations to fit and rows held back: of every four samples one, of chunks too small for that every fourth.

    ``sharing``: how many layers are fitted together.
    """
    shapes = pruned.values[layer.x].shapes
    samples = sum(layer.samples(s) for s in shapes)
    wide = 4 * problem.matrix.shape[0] * (problem.matrix.shape[2] + 2 * problem.matrix.shape[1])
    limit = max(1, min(positions(samples, problem.matrix.shape[2]), _ROW_BYTES // max(wide * samples * sharing, 1)))
    fit, held = list[Observations](), list[Observations]()
    for chunk in range(chunks):
        rows = problem.rows(chunk, limit, where)
        count, total = layer.samples(shapes[chunk]), rows.x.shape[1]
        cut = fitted(count, chunk) * (total // count)
        fit.append(rows.part(slice(cut)))
        held.append(rows.part(slice(cut, None)))
    if not sum(h.x.shape[1] for h in held) or not sum(f.x.shape[1] for f in fit):
        raise Unfit("no samples could be held back")
    return Observations.joined(fit), Observations.joined(held)


def _write_weight(layer: Layer, w: Array, pruned: Interpreter, operand: Array) -> None:
    pruned.write(layer.stored.name, layer.stored.back(layer.restore(w, operand.shape), pruned.parameter))
    for between in layer.stored.chain:
        pruned.run(between.proto, again=True)


def _write(layer: Layer, problem: Regression, found: Fit, pruned: Interpreter, operand: Array) -> None:
    w, b = found.w, found.b
    scale = problem.scale
    if scale is not None:
        dead = np.abs(scale) < 1e-6 * max(float(np.abs(scale).max()), 1e-12)
        w[dead], b[dead] = problem.matrix[dead], problem.offset[dead]
    around = layer.around
    if found.damping is not None:
        _write_weight(layer, w, pruned, operand)
    if not problem.centred:
        return
    if around.bias is not None and problem.bias is not None:
        value = b.reshape(problem.bias.shape) / layer.beta
        pruned.write(around.bias.name, around.bias.back(value, pruned.parameter))
        for between in around.bias.chain:
            pruned.run(between.proto, again=True)
    elif scale is not None and around.norm is not None:
        beta = pruned.parameter(around.norm.inputs[2])
        assert beta is not None
        pruned.write(around.norm.inputs[2], beta + (scale * (b - problem.offset)).reshape(-1))
