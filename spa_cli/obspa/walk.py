"""The repair walk: dense and pruned network side by side, node by node, every layer refitted on the way.

In topological order; a layer sees the *pruned* network's activations and is asked for the *dense* network's outputs
(less what the other branch of a residual sum already gives), so it absorbs the errors made before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sized

import onnx

from spa_cli.graph.bodies import captured_names
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.states import narrowed
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.pairs import find_pairs
from spa_cli.obspa.positions import Positions
from spa_cli.obspa.recalibrate import Affine, find_affines, recalibrate
from spa_cli.obspa.repair_layer import refine_pair, repair_layer, repair_together
from spa_cli.obspa.schedule import schedule
from spa_cli.obspa.sides import Repair, Sides
from spa_cli.obspa.stand_in import stand_in
from spa_cli.obspa.steps import Steps
from spa_cli.progress import tracked
from spa_cli.runtime.interpreter import Interpreter
from spa_cli.runtime.store import Store
from spa_cli.surgery.cut import Cut

# as measured on a Llama and a MobileNet: refitting a layer, and what the next one gains from it, are nearly all of it
_REFIT, _REFINE = 40, 200


def walk(
    graph: Graph, work: Cut, layers: list[Layer], chunks: list[dict[str, Array]], where: Positions, memory: float
) -> Repair:
    """Refit the layers of ``work.model`` in place; activations take ``memory`` bytes, the rest of them go to disk."""
    store = Store(memory)
    dense = Interpreter(graph.model, graph.folder, chunks, store)
    narrow = [narrowed(chunk, work.states) for chunk in chunks]
    # never those of the original
    pruned = Interpreter(work.model, work.folder, narrow, store, own_files=work.folder != graph.folder)
    sides = Sides(graph, work, dense, pruned, where)
    dense_nodes = {o: n for n in graph.nodes for o in n.outputs if o}
    reads = _reads(graph, work)
    # those of blocks that went whole are gone
    layers = [layer for layer in layers if layer.key in reads]
    by_node = {layer.key: layer for layer in layers}
    affines = find_affines(graph, layers)
    for each in layers:
        reads[each.key].add(each.x)
    pairs = find_pairs(graph, layers)
    # the first layer of a pair runs once more when the second has been fitted
    again = {key: reads[key].union(*(pair.needs for pair in own)) for key, own in pairs.items()}
    uses = Counter(i for names in reads.values() for i in names)
    later = Counter(i for key, names in reads.items() for i in again.get(key, names))
    left = _to_visit(layers, affines, work)
    tried = set[str]()
    steps = Steps(sides)
    for number, proto in enumerate(tracked(schedule(work.model, by_node), lambda node: _work(node, by_node, pairs))):
        outputs = [o for o in proto.output if o]
        original = dense_nodes.get(outputs[0]) if outputs else None
        if not left:
            break
        if original is None:
            pruned.run(proto)
            continue
        left.discard(outputs[0])
        sides.run_dense(original)
        layer, anew = by_node.get(outputs[0]), number >= steps.done
        if layer is not None and anew:
            members = [by_node[key] for key in layer.siblings if key in by_node]
            if members and not tried.intersection(layer.siblings):
                tried.update(layer.siblings)
                repair_together(sides, members)
            repair_layer(sides, layer)
            for pair in pairs.get(layer.key, ()):
                if refine_pair(sides, pair):
                    for name in {o for node in pair.upper for o in node.outputs if not later[o]}:
                        pruned.drop(name)
                    repair_layer(sides, layer)
        elif layer is not None:
            tried.update(layer.siblings)
        pruned.run(proto)
        if anew and outputs[0] in work.held and stand_in(original, work, dense, pruned):
            sides.report.shifted.append(original.label)
            pruned.run(proto, again=True)
        affine = affines.get(outputs[0])
        if anew and affine is not None and recalibrate(affine, work, dense, pruned):
            sides.report.shifted.append(affine.node.label)
            pruned.run(proto, again=True)
        if anew and (layer is not None or affine is not None or outputs[0] in work.held):
            steps.keep(number)
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
    return sides.report


def _work(proto: onnx.NodeProto, layers: Mapping[str, Layer], pairs: Mapping[str, Sized]) -> float:
    """What a node takes, in times of running one that nothing is refitted at."""
    key = next((o for o in proto.output if o), "")
    return 1 + _REFIT * (key in layers) + _REFINE * len(pairs.get(key, ()))


def _to_visit(layers: list[Layer], affines: dict[str, Affine], work: Cut) -> set[str]:
    """First outputs of the nodes that are left at which something may be refitted: behind them nothing is run."""
    outputs = {next((o for o in n.output if o), "") for n in work.model.graph.node}
    return outputs & {*(layer.key for layer in layers), *affines, *work.held}


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
