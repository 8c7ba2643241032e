"""Pairs of layers with only element-wise operators between them: the first can be changed for what the second gives."""

from __future__ import annotations

from dataclasses import dataclass

from spa_cli.graph.model import Graph, Node
from spa_cli.obspa.layers import Layer
from spa_cli.operators import record_of


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
    def needs(self) -> set[str]:
        """What has to be at hand for the first layer to be changed when the second has been fitted."""
        made = {o for node in self.upper for o in node.outputs}
        return {i for node in self.upper for i in node.inputs if i not in made} | {
            self.first.x,
            self.first.around.output,
        }


def find_pairs(graph: Graph, layers: list[Layer]) -> dict[str, Pair]:
    """Pairs by the key of the second layer."""
    firsts = {layer.around.output: layer for layer in layers if layer.around.join is None and _plain(layer)}
    # a step is small, and rounded away
    firsts = {name: layer for name, layer in firsts.items() if not layer.packed}
    found = {}
    for second in filter(_plain, layers):
        region = _region(graph, second, firsts)
        if region is not None:
            first, nodes = region
            if first.gives_along == second.reads_along:
                found[second.key] = Pair(first, nodes, second)
    return found


def _region(graph: Graph, second: Layer, firsts: dict[str, Layer]) -> tuple[Layer, tuple[Node, ...]] | None:
    """The layer behind ``second.x`` and the nodes on the way, in order; ``None`` if anything else has a part in it."""
    inside, sources, stack = set[Node](), set[str](), [second.x]
    while stack:
        name = stack.pop()
        node = graph.producers.get(name)
        if name in firsts:
            sources.add(name)
        elif node is None or not _smooth(node):
            return None
        elif node not in inside:
            inside.add(node)
            stack += [i for i in node.inputs if i and i not in graph.parameters]
    if len(sources) != 1:
        return None
    names = {*sources, *(o for n in inside for o in n.outputs if o)}
    if {r for name in names for r in graph.readers(name)} != {*inside, second.node} or names & {*graph.outputs}:
        return None
    return firsts[sources.pop()], tuple(n for n in graph.nodes if n in inside)


def _smooth(node: Node) -> bool:
    single = len([o for o in node.outputs if o]) == 1
    return record_of(node).smooth and single and not node.attr("training_mode", 0)


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
