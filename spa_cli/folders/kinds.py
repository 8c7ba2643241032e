"""What a group is in a language model, and what an axis of a matrix is to its product, packed weights included."""

from __future__ import annotations

from spa_cli.channels.group import Group, Member
from spa_cli.channels.naming import BLOCKS, INSIDE, RESIDUAL
from spa_cli.channels.state import CONSUMER, PASS_THROUGH, PRODUCER
from spa_cli.graph.model import Graph, Node

ATTENTION = (BLOCKS, INSIDE)
_PACKED = "MatMulNBits"
_PRODUCTS = ("MatMul", "Gemm", "FusedMatMul", "Einsum")


def kind_of(group: Group, graph: Graph) -> str:
    """What naming says of it; of packed weights, of which every width is cut in blocks, what lies behind them."""
    packed = [m for m in group.members if is_packed(m.tensor, graph)]
    if not packed:
        return group.kind
    readers = {node.op for m in group.members if m not in packed for node in graph.consumers.get(m.tensor, ())}
    # a bias is added, a head may be a product
    if any("Gather" in op or "Norm" in op for op in readers):
        return RESIDUAL
    made = [node for m in packed if m.axis == 0 for node in graph.consumers.get(m.tensor, ())]
    return BLOCKS if any(_attends(node, graph) for node in made) else ""


def role_of(member: Member, graph: Graph) -> str | None:
    """Producer or consumer; ``None`` for what is neither, or no matrix."""
    rank = len(graph.shape(member.tensor))
    if is_packed(member.tensor, graph):
        # scales speak for the bytes where importance is told, and lie in one list or in two axes
        return (PRODUCER, CONSUMER, None)[member.axis] if rank == 3 else None
    return member.role if member.role != PASS_THROUGH and rank > 1 else None


def is_packed(tensor: str, graph: Graph) -> bool:
    """Whether it is of a matrix whose weights share bytes and scales."""
    return any(node.op == _PACKED and node.input(5) != tensor for node in graph.consumers.get(tensor, ()))


def _attends(node: Node, graph: Graph) -> bool:
    """Whether what it makes is multiplied with something that is made, too, before another matrix has it."""
    seen, waiting = set[str](), list(node.outputs)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for reader in graph.consumers.get(name, ()):
            if "Attention" in reader.op:
                return True
            if reader.op in _PRODUCTS and not any(i in graph.parameters for i in reader.inputs):
                return True
            if reader.op != _PACKED and reader.op not in _PRODUCTS:
                waiting += reader.outputs
    return False
