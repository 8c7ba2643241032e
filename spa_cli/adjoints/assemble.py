"""Putting the gradient graph behind the model, without what nothing depends on."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import helper

from spa_cli.adjoints.emitter import Emitter, Value
from spa_cli.adjoints.flow import captured
from spa_cli.adjoints.sizes import Sizes


def assemble(
    model: onnx.ModelProto, emit: Emitter, cotangents: dict[str, Value], gradients: Sequence[str], sizes: Sizes
) -> onnx.ModelProto:
    """``model`` with the nodes of ``emit`` behind its own; it gives the outputs that have cotangents, then gradients.

    ``model`` is changed.
    """
    graph = model.graph
    declared = {v.name: v for v in graph.output}
    for output, value in cotangents.items():
        rank = sizes.ranks.get(output)
        graph.input.append(
            helper.make_tensor_value_info(value.name, value.dtype, None if rank is None else [None] * rank)
        )
    del graph.output[:]
    plain = (declared.get(name) or helper.make_empty_tensor_value_info(name) for name in cotangents)
    graph.output.extend([*plain, *(helper.make_empty_tensor_value_info(name) for name in gradients)])
    graph.node.extend(emit.nodes)
    graph.initializer.extend(emit.constants)
    _prune(graph)
    return model


def _prune(graph: onnx.GraphProto) -> None:
    """Without nodes and weights that no output depends on."""
    used = {output.name for output in graph.output}
    maker = {name: node for node in graph.node for name in node.output if name}
    waiting, kept = list(used), set()
    while waiting:
        node = maker.get(waiting.pop())
        if node is None or node.output[0] + "|" + "|".join(node.output) in kept:
            continue
        kept.add(node.output[0] + "|" + "|".join(node.output))
        bodies = (body for a in node.attribute for body in (a.g, *a.graphs))
        read = {*node.input, *(name for body in bodies for name in captured(body))} - used
        used |= read
        waiting.extend(read)
    nodes = [n for n in graph.node if n.output and n.output[0] + "|" + "|".join(n.output) in kept]
    inputs = {v.name for v in graph.input}
    tensors = [t for t in graph.initializer if t.name in used or t.name in inputs]
    keep(graph.node, nodes)
    keep(graph.initializer, tensors)


def keep(field, kept) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Keep some messages of a repeated field."""
    if len(kept) == len(field):
        return
    copies = [type(message).FromString(message.SerializeToString()) for message in kept]
    del field[:]
    field.extend(copies)
