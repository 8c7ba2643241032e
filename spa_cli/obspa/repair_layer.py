"""Refitting one layer of the cut network, or several that share a weight, to what the original gives."""

from __future__ import annotations

import numpy as np

from spa_cli.calibration.chunks import positions
from spa_cli.graph.model import Array
from spa_cli.memory import portion
from spa_cli.obspa.layers import INTEGERS, Layer
from spa_cli.obspa.observations import Observations, Split
from spa_cli.obspa.pairs import Pair
from spa_cli.obspa.recurrence import Recurrence, followed
from spa_cli.obspa.refine import refine
from spa_cli.obspa.refit import Fit, refit
from spa_cli.obspa.regression import Regression, fitted
from spa_cli.obspa.repair_blocks import repair_blocks
from spa_cli.obspa.shrinkage import POSITIONS
from spa_cli.obspa.sides import Sides
from spa_cli.obspa.unfit import Unfit
from spa_cli.obspa.wide import widest
from spa_cli.obspa.writing import write, write_weight
from spa_cli.threads import each

# bytes of rows of one layer that are held at once, and their share of the memory there is where that is less; fewer
# positions are looked at beyond that
_ROW_BYTES, _ROW_SHARE = 600_000_000, 1 / 4
_NO_BETTER = "no fit did better on held-back samples"


def repair_layer(sides: Sides, layer: Layer) -> None:
    """Refit one layer to the dense targets, given the pruned inputs."""
    work, pruned, report = sides.work, sides.pruned, sides.report
    operand = layer.weight(pruned.parameter, work.shape)
    if not sides.has(layer.x) or operand is None:
        return
    declared = layer.takes(pruned.values[layer.x][0])
    if layer.unfit == INTEGERS or not declared:
        report.kept[layer.node.label] = layer.unfit if declared else "its input has a rank that was not declared"
        return
    if layer.recurrent and followed(sides.graph, layer) and layer.key in sides.dense.values:
        _repair_recurrent(sides, layer)
        return
    problem = Regression(layer, work, sides.dense, pruned, operand)
    if layer.common or (not problem.joined and sides.same(layer.x)):
        return
    sides.run_targets(layer, problem)
    if not (layer.conv or layer.transposed) and work.shape(layer.x)[:1] != work.old_shape(layer.x)[:1]:
        report.kept[layer.node.label] = "its rows are channels that were cut"
        return
    try:
        rows = _collect(sides, layer, problem)
    except Unfit as why:
        report.kept[layer.node.label] = str(why)
        return
    unfit = layer.unfit or ("it has too many inputs" if problem.matrix.shape[2] > widest() else "")
    fixed, independent = bool(unfit or layer.siblings), POSITIONS * _fitted(sides, layer)
    if layer.packed and not fixed:
        _tell(sides, layer, *repair_blocks(layer, problem, rows, independent, pruned))
        return
    found = refit(rows, problem.matrix, problem.offset, problem.centred, fixed, independent)
    if found is not None:
        write(layer, problem, found, pruned, operand)
    _tell(sides, layer, found, unfit)


def _tell(sides: Sides, layer: Layer, found: Fit | None, why: str) -> None:
    """Report what was fitted of a layer; ``why`` not its weights, where that is not that nothing did better."""
    report, label = sides.report, layer.node.label
    if found is not None and found.damping is not None:
        report.refitted[label] = found.damping
    elif label not in report.refitted and found is not None:
        report.shifted.append(label)
    elif label not in report.refitted:
        report.kept[label] = why or _NO_BETTER


def _repair_recurrent(sides: Sides, layer: Layer) -> None:
    if not sides.work.changed(layer.node.inputs[2]) and sides.same(layer.x):
        return
    room = min(_ROW_BYTES, portion(_ROW_SHARE))
    damping = Recurrence(layer, sides.work, sides.dense, sides.pruned, room).repair()
    if damping is None:
        sides.report.kept[layer.node.label] = _NO_BETTER
    else:
        sides.report.refitted[layer.node.label] = damping


def repair_together(sides: Sides, members: list[Layer]) -> None:
    """Refit a weight that several layers read to all of them; offsets of their own stay as they are."""
    work, dense, pruned, report = sides.work, sides.dense, sides.pruned, sides.report
    first, parts, samples = members[0], list[Split](), 0
    operand, labels = first.weight(pruned.parameter, work.shape), [m.node.label for m in members]
    if operand is None or not all(sides.has(m.x) for m in members) or all(sides.same(m.x) for m in members):
        return
    try:
        for each in members:
            problem = Regression(each, work, dense, pruned, operand)
            sides.run_dense(each.node)
            sides.run_targets(each, problem)
            found = _collect(sides, each, problem, len(members))
            own = 0 * problem.offset if first.common else problem.offset
            parts.append(Split(found.rows.less(own), found.cut))
            samples += _fitted(sides, each)
    except Unfit as why:
        report.kept.update(dict.fromkeys(labels, str(why)))
        return
    problem = Regression(first, work, dense, pruned, operand)
    rows = Split.of([part.fit for part in parts], [part.held_back for part in parts])
    offset = problem.offset if first.common else np.zeros_like(problem.offset)
    fit = refit(rows, problem.matrix, offset, first.common, False, POSITIONS * samples)
    if fit is None:
        report.kept.update(dict.fromkeys(labels, _NO_BETTER))
        return
    if first.common:
        write(first, problem, fit, pruned, operand)
    for each in members if fit.damping is not None else ():
        write_weight(each, fit.w, pruned, operand)
    if fit.damping is None:
        report.shifted += labels
    else:
        report.refitted.update(dict.fromkeys(labels, fit.damping))


def refine_pair(sides: Sides, pair: Pair) -> bool:
    """Change the first layer of a pair for what the second gives; whether it was changed."""
    first, second, report = pair.first, pair.second, sides.report
    work, dense, pruned = sides.work, sides.dense, sides.pruned
    if first.x not in pruned.values or first.around.output not in pruned.values:
        return False
    a, b = (layer.weight(pruned.parameter, work.shape) for layer in (first, second))
    if a is None or b is None or first.node.label in report.kept or second.node.label not in report.refitted:
        return False
    if not pruned.can_run(pair.upper) or not pruned.can_run(pair.lower):
        return False
    for node in pair.lower:
        pruned.run(pruned.node(node))
    problem = Regression(first, work, dense, pruned, a)
    found = refine(pair, problem, Regression(second, work, dense, pruned, b), pruned)
    for node in pair.lower:
        pruned.undo(pruned.node(node))
    if found is None:
        return False
    write(first, problem, found, pruned, a)
    for node in pair.upper:
        pruned.run(pruned.node(node), again=True)
    report.refined.append(first.node.label)
    report.refitted.setdefault(first.node.label, found.damping or 0.0)
    if first.node.label in report.shifted:
        report.shifted.remove(first.node.label)
    return True


def _fitted(sides: Sides, layer: Layer) -> int:
    """Samples that a layer is fitted to."""
    shapes = sides.pruned.values[layer.x].shapes
    return sum(fitted(layer.samples(shape), at) for at, shape in enumerate(shapes))


def _collect(sides: Sides, layer: Layer, problem: Regression, sharing: int = 1) -> Split:
    """Observations to fit and rows held back: of every four samples one, of chunks too small for that every fourth.

    ``sharing``: how many layers are fitted together.
    """
    shapes = sides.pruned.values[layer.x].shapes
    samples = sum(layer.samples(s) for s in shapes)
    wide = 4 * problem.matrix.shape[0] * (problem.matrix.shape[2] + 2 * problem.matrix.shape[1])
    room = int(min(_ROW_BYTES, portion(_ROW_SHARE)))
    limit = max(1, min(positions(samples, problem.matrix.shape[2]), room // max(wide * samples * sharing, 1)))
    fit, held = list[Observations](), list[Observations]()

    def looked_at(one: tuple[int, Array | None]) -> tuple[Observations, bool]:
        rows = problem.rows(*one)
        return rows, rows.numbers

    # all of them before any is looked at: what is drawn next must not depend on how far others came
    drawn = [(chunk, sides.where.of(layer, chunk, shape, limit)) for chunk, shape in enumerate(shapes)]
    for chunk, (rows, numbers) in enumerate(each(looked_at, drawn)):
        if not numbers:
            raise Unfit("it reads or gives NaN or infinity on some samples")
        count, total = layer.samples(shapes[chunk]), rows.x.shape[1]
        cut = fitted(count, chunk) * (total // count)
        fit.append(rows.part(slice(cut)))
        held.append(rows.part(slice(cut, None)))
    if not sum(h.x.shape[1] for h in held) or not sum(f.x.shape[1] for f in fit):
        raise Unfit("no samples could be held back")
    return Split.of(fit, held)
