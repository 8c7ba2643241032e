"""The order in which the repair walks a graph."""

from __future__ import annotations

import onnx

from spa_cli.graph.bodies import captured_names
from spa_cli.obspa.layers import Layer


def schedule(model: onnx.ModelProto, layers: dict[str, Layer]) -> list[onnx.NodeProto]:
    """Nodes in a topological order in which some come before a layer that doesn't need them.

    The other branch of a sum before the layer that ends this one; what layers read that share a weight before the
    first of them.
    """
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
            if not open_ and layer is not None and at not in asked:
                asked.add(at)
                first = [layers[key].x for key in layer.siblings if key in layers] + [layer.around.other]
                wanted = dict.fromkeys(producer[name] for name in first if name in producer)
                open_ = [n for n in wanted if n not in done and not _depends(needs, n, set(stack))]
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
