"""What nobody reads."""

from __future__ import annotations

from spa_cli.graph.bodies import captured_names
from spa_cli.tidy.draft import Draft, remove


def remove_unused(draft: Draft) -> int:
    """Nodes and initializers that no output comes from, and what is said of tensors that are no more."""
    live = set[int]()
    read = {v.name for v in draft.graph.output}
    stack = [*read]
    for node in draft.graph.node:
        if not any(node.output):
            stack += [i for i in {*node.input, *captured_names(node)} if i]
            live.add(id(node))
    while stack:
        name = stack.pop()
        read.add(name)
        node = draft.producers.get(name)
        if node is not None and id(node) not in live:
            live.add(id(node))
            stack += [i for i in {*node.input, *captured_names(node)} if i]
    graph = draft.graph
    nodes = [at for at, n in enumerate(graph.node) if id(n) not in live]
    kept = (
        read | draft.inputs | {p.value for a in graph.quantization_annotation for p in a.quant_parameter_tensor_names}
    )
    tensors = [at for at, t in enumerate(graph.initializer) if t.name not in kept]
    remove(graph.node, nodes)
    remove(graph.initializer, tensors)
    _forget(draft, kept)
    return len(nodes) + len(tensors)


def _forget(draft: Draft, kept: set[str]) -> None:
    graph = draft.graph
    there = kept | {o for n in graph.node for o in n.output}
    remove(graph.value_info, [at for at, v in enumerate(graph.value_info) if v.name not in there])
    annotations = graph.quantization_annotation
    remove(annotations, [at for at, a in enumerate(annotations) if a.tensor_name not in there])
