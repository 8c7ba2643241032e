"""Layers that the walk doesn't reach and that read channels that were cut: which, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from spa_cli.graph.formulas import made_by_formula
from spa_cli.graph.model import Graph, Node
from spa_cli.obspa.layers import find_layer, graph_shape
from spa_cli.obspa.parameter_path import find_parameter
from spa_cli.operators import record_of
from spa_cli.operators.contraction import seen_from
from spa_cli.surgery.cut import Cut

COMPUTED = "its weight is computed from the input"
# what a stored weight goes through on its way to be an activation (a style scales it, sample by sample)
_SCALED = frozenset({"Mul", "Div"})
_FORMED = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Cast", "Identity"})


def beyond(graph: Graph, work: Cut) -> dict[str, str]:
    """Label of each such layer, and why it kept its sliced weights."""
    inside = list(_inside(graph.nodes))
    # Loop and Scan hand over what they are given, one to one: weights too
    handed = {
        own: given
        for owner in {id(o): o for _, o in inside}.values()
        for body in owner.bodies
        for given, own in zip(owner.inputs, body.inputs, strict=False)
    }

    def constant(name: str) -> bool:
        name = find_parameter(graph, name).name
        return name in graph.parameters or (name in handed and constant(handed[name]))

    found = {}
    for node, owner in inside:
        if _reads_cut(graph, work, node, constant):
            found[node.label] = f"it is inside the body of {owner.op} '{owner.label}'"
    for node in graph.all_nodes:
        if node.label not in found and find_layer(graph, work.known, node) is None:
            contracts = record_of(node).contracts
            # the kernel of a convolution is a weight whatever made it, a factor of a product only if one was stored
            kernel = contracts is not None and contracts.windows
            computed = _is_computed if kernel else _is_modulated
            if _reads_cut(graph, work, node, partial(computed, graph)):
                found[node.label] = COMPUTED
    return found


def _inside(nodes: Iterable[Node]) -> Iterator[tuple[Node, Node]]:
    """Every node of a body, and the node it is the body of."""
    for owner in nodes:
        for body in owner.bodies:
            yield from ((node, owner) for node in body.nodes)
            yield from _inside(body.nodes)


def _reads_cut(graph: Graph, work: Cut, node: Node, weight: Callable[[str], bool]) -> bool:
    """Whether a node multiplies by such a weight, over channels that were cut."""
    contracts = record_of(node).contracts
    names = contracts.inputs(node) if contracts is not None else []
    shapes = [graph_shape(graph, work.known, n) for n in names]
    if contracts is None or len(names) != 2 or not all(shapes):
        return False
    for at in contracts.fitted:
        if not weight(names[at]):
            continue
        terms = seen_from(contracts.labels(node, [len(s) for s in shapes]), at, shapes[at], shapes[1 - at])
        old, new = work.old_shape(names[at]), work.shape(names[at])
        if terms is not None and any(old[axis] != new[axis] for axis in terms.inputs):
            return True
    return contracts.recurrence >= 0 and weight(names[1]) and work.changed(node.inputs[contracts.recurrence])


def _is_computed(graph: Graph, name: str) -> bool:
    return find_parameter(graph, name).name not in graph.parameters


def _is_modulated(graph: Graph, name: str) -> bool:
    """Whether a tensor is a trained matrix times something that is none."""
    node = graph.producers.get(name)
    if node is None or node.domain:
        return False
    if node.op in _FORMED:
        return _is_modulated(graph, node.inputs[0])
    return node.op in _SCALED and any(_is_stored(graph, i) or _is_modulated(graph, i) for i in node.inputs)


def _is_stored(graph: Graph, name: str) -> bool:
    name = find_parameter(graph, name).name
    known = name in graph.parameters and sum(d > 1 for d in graph.shape(name)) > 1
    return known and not made_by_formula(graph, name)
