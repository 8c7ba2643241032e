"""Measuring this machine on the model's own layers: the model whole, and cut to several widths, side by side."""

from __future__ import annotations

import math

import numpy as np

from spa_cli.analysis import Analysis
from spa_cli.budget.widths import Widths
from spa_cli.channels.selection import Selection
from spa_cli.channels.slices import shape_of
from spa_cli.devices.kinds import kind_of, leaders
from spa_cli.devices.table import CLASSES, Run, Table
from spa_cli.errors import CutError
from spa_cli.graph.model import Node
from spa_cli.graph.view import build
from spa_cli.operators import record_of
from spa_cli.operators.contracts import ShapeOf
from spa_cli.runtime.profile import Profile, profile
from spa_cli.runtime.session import Feeds
from spa_cli.runtime.timing import quiet_seconds

# what is left of every group, by the multiple that its width then is; two of the best tell what overhead stays
_CUTS = [(16, 0.75), (16, 0.45), *((m, 0.75) for m in reversed(CLASSES[:-1]))]
_SECONDS = 1.2


def measured(analysis: Analysis, feeds: Feeds, machine: str) -> Table:
    """Run the model and cuts of it in turns; raises what onnxruntime raises."""
    source = analysis.source
    selections, models = [Selection(analysis.grouping)], [(source.model, source.folder)]
    for multiple, share in _CUTS:
        selection = _uniform(analysis, multiple, share)
        if not selection.kept or any(selection.gone == other.gone for other in selections):
            continue
        try:
            work = analysis.cut(selection)
        except CutError:
            continue
        selections.append(selection)
        models.append((build(work.model, source.folder).in_memory(), ""))
    profiles = profile(models, [feeds] * len(models), {n.op for n in analysis.costs.nodes}, _SECONDS)
    whole = [build(source.model, source.folder).in_memory(), *(model for model, _ in models[1:])]
    walls = quiet_seconds(whole, feeds, _SECONDS * len(models))
    nodes, axes = timed(analysis), Widths(analysis.grouping)
    return Table(
        machine,
        source.name,
        [_run(analysis, nodes, axes, *one) for one in zip(selections, profiles, walls, strict=True)],
        {n.label: kind for n in nodes if (kind := kind_of(n, analysis.costs.dense))},
        leaders(nodes),
    )


def timed(analysis: Analysis) -> list[Node]:
    """Nodes of the main graph, under whose names onnxruntime's profile tells what they took."""
    return list(analysis.graph.nodes)


def work_of(node: Node, shape: ShapeOf) -> float:
    """Multiply-accumulates of layers, elements given by other nodes."""
    return float(record_of(node).macs(node, shape) if record_of(node).counted else math.prod(shape(node.outputs[0])))


def _uniform(analysis: Analysis, multiple: int, share: float) -> Selection:
    """Every group as near to ``share`` of its channels as widths go that are this multiple and no larger one."""
    selection = Selection(analysis.grouping)
    for index, group in enumerate(analysis.grouping.groups):
        fits = [
            w for w in range(multiple, group.channels + 1, multiple) if multiple == CLASSES[-1] or w // multiple % 2
        ]
        if fits:
            width = min(fits, key=lambda w: abs(w - share * group.channels))
            mask = np.ones(shape_of(group), bool)
            mask[..., width:] = False
            selection.keep(index, mask)
    return selection


def _run(analysis: Analysis, nodes: list[Node], axes: Widths, selection: Selection, found: Profile, wall: float) -> Run:
    """``wall``: seconds of the whole model, where nobody looks at its nodes."""
    shape = analysis.costs.shapes(selection)
    widths, work = dict[str, list[int]](), dict[str, float]()
    for node in nodes:
        names = [n for n in (*node.inputs, *node.outputs) if n]
        widths[node.label] = sorted({shape(n)[at] for n, at in axes.axes(names, shape)})
        work[node.label] = work_of(node, shape)
    own = sum(found.nodes.values())
    # what onnxruntime puts between nodes is all of theirs, and looking at them takes time
    scale = wall / own if own else 1.0
    return Run(widths, work, {label: seconds * scale for label, seconds in found.nodes.items()})
