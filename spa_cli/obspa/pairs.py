"""Pairs of layers of which the first can be changed for what the second gives."""

from __future__ import annotations

from dataclasses import dataclass

from spa_cli.adjoints.expand import is_written_out
from spa_cli.adjoints.table import record_of
from spa_cli.graph.model import Graph, Node
from spa_cli.obspa.layers import Layer

# layers that may stand between the two: a depthwise one and those of its gate
_BETWEEN = 3


@dataclass(frozen=True, eq=False)
class Pair:
    """``second`` reads, through the nodes ``between``, what ``first`` gives, and nobody else does."""

    first: Layer
    between: tuple[Node, ...]
    second: Layer

    @property
    def upper(self) -> tuple[Node, ...]:
        """All nodes from the first layer to what the second reads, in order."""
        behind = (*self.first.around.path, *self.between)
        return (self.first.node, *dict.fromkeys(behind))

    @property
    def lower(self) -> tuple[Node, ...]:
        """The second layer and what stands behind it, up to its norm."""
        return (self.second.node, *(n for n in self.second.around.path if n is not self.second.around.join))

    @property
    def needs(self) -> set[str]:
        """What has to be at hand for the first layer to be changed when the second has been fitted."""
        made = {o for node in self.upper for o in node.outputs}
        return {i for node in self.upper for i in node.inputs if i not in made} | {
            self.first.x,
            self.first.around.output,
        }


def find_pairs(graph: Graph, layers: list[Layer]) -> dict[str, list[Pair]]:
    """Pairs by the key of the second layer, the nearest first."""
    firsts = {layer.around.output: layer for layer in layers if layer.around.join is None and _plain(layer)}
    # a step is small, and rounded away
    firsts = {name: layer for name, layer in firsts.items() if not layer.packed}
    order = {node: at for at, node in enumerate(graph.nodes)}
    others = {layer.key for layer in layers if layer.around.output not in firsts}
    nodes = {layer.node for layer in layers}
    found: dict[str, list[Pair]] = {}
    for second in filter(_plain, layers):
        for first in _before(graph, second, firsts, others):
            pair = _pair(graph, first, second, order)
            if pair is not None and len(nodes.intersection(pair.between)) <= _BETWEEN:
                found.setdefault(second.key, []).append(pair)
    return found


def _before(graph: Graph, second: Layer, firsts: dict[str, Layer], others: set[str]) -> list[Layer]:
    """Layers that ``second`` reads with no other between, but for those of a channel each: these come first."""
    found, seen, stack = list[Layer](), set[str](), [second.x]
    while stack:
        name = stack.pop(0)
        node = graph.producers.get(name)
        if name in seen or name in others or node is None or not _differentiable(node):
            continue
        seen.add(name)
        first = firsts.get(name)
        if first is None:
            stack += [i for i in node.inputs if i and i not in graph.parameters]
            continue
        found.append(first)
        if _channelwise(graph, first):
            stack.append(first.x)
    return found


def _pair(graph: Graph, first: Layer, second: Layer, order: dict[Node, int]) -> Pair | None:
    """The nodes from one layer to another; ``None`` if what they give is read elsewhere."""
    inside, stack = set[Node](), [first.around.output]
    while stack:
        name = stack.pop()
        readers = graph.readers(name)
        # a node that has no place in the order lies inside a body
        if name in graph.outputs or any(order.get(n, len(order)) > order[second.node] for n in readers):
            return None
        fresh = {*readers} - inside - {second.node}
        inside |= fresh
        stack += [o for node in fresh for o in node.outputs if o]
    made = {first.around.output, *(o for n in inside for o in n.outputs if o)}
    if second.x not in made or not all(_differentiable(node) for node in inside):
        return None
    return Pair(first, tuple(sorted(inside, key=order.__getitem__)), second)


def _channelwise(graph: Graph, layer: Layer) -> bool:
    """Whether a convolution gives every channel from one alone."""
    shape = graph.shape(layer.stored.name)
    return layer.conv and int(layer.node.attr("group", 1)) > 1 and len(shape) > 1 and shape[1] == 1


def _differentiable(node: Node) -> bool:
    record = record_of(node)
    known = is_written_out(node.domain, node.op) or (record is not None and record.rule is not None)
    return known and len([o for o in node.outputs if o]) == 1 and not node.attr("training_mode", 0)


def _plain(layer: Layer) -> bool:
    """Whether the layer is nothing but its product, with samples along the first axis of what it reads and gives."""
    if layer.unfit or layer.siblings or layer.transposed or layer.recurrent or layer.fused:
        return False
    if layer.node.inputs.count(layer.x) > 1:
        return False
    if layer.conv:
        return True
    t = layer.terms
    simple = not t.groups and len(t.inner) == 1 == len(t.outer) and t.outer[0] in t.y
    return simple and bool(t.places) and t.x[0] == t.y[0] == t.places[0]
