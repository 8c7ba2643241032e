"""The size of a head, where a cache of attention leaves it free and what reads the cache does not.

The builder of onnxruntime-genai declares caches as [batch, heads, past, kv_cache_dim] (0.18): nothing in that says how
wide a head is, and no other size runs.
"""

from __future__ import annotations

import onnx

from spa_cli.graph.model import Graph, Node

# what reads caches: its inputs of queries, keys, values and of the pasts of keys and values, and what it calls heads
_ATTENTION = {
    "GroupQueryAttention": ((0, 1, 2), (3, 4), ("num_heads", "kv_num_heads")),
    "MultiHeadAttention": ((0, 1, 2), (6, 7), ("num_heads", "num_heads")),
    "DecoderMaskedMultiHeadAttention": ((0, 1, 2), (5, 6), ("num_heads", "num_heads")),
    "Attention": ((0, 1, 2), (4, 5), ("q_num_heads", "kv_num_heads")),
}
# a cache: samples, heads, positions, channels of a head
_RANK = 4
# what gives as many channels as the first input has
_ALIKE = frozenset({"Identity", "Cast", "RotaryEmbedding", "SimplifiedLayerNormalization", "LayerNormalization"})


def with_head_sizes(graph: Graph) -> dict[str, onnx.ValueInfoProto]:
    """The inputs as they are declared, free axes of caches fixed where what reads them has one size for that."""
    found, known = dict(graph.inputs), dict[str, onnx.ValueInfoProto]()
    for name, info in graph.inputs.items():
        kind = info.type.tensor_type
        free = [at for at, dim in enumerate(kind.shape.dim) if at and not dim.HasField("dim_value")]
        if len(kind.shape.dim) != _RANK or len(free) < 2:
            continue
        known = known or {v.name: v for v in graph.model.graph.value_info}
        for node in graph.consumers.get(name, ()):
            for at, size in _sizes(graph, known, node, name).items():
                if at in free and size:
                    copy = onnx.ValueInfoProto()
                    copy.CopyFrom(found[name])
                    copy.type.tensor_type.shape.dim[at].dim_value = size
                    found[name] = copy
    return found


def _sizes(graph: Graph, known: dict[str, onnx.ValueInfoProto], node: Node, name: str) -> dict[int, int | None]:
    """Axes of a cache that the other inputs of ``node`` fix."""
    if node.op == "Concat":
        along = int(node.attr("axis", 0)) % _RANK
        dims = [_dims(graph, known, other) for other in node.inputs if other != name]
        fixed = {at: d[at] for d in dims if len(d) == _RANK for at in range(_RANK) if at != along and d[at]}
        return dict(fixed)
    if node.op not in _ATTENTION:
        return {}
    given, pasts, (heads, shared) = _ATTENTION[node.op]
    for past, own in zip(pasts, given[1:], strict=True):
        if node.input(past) != name:
            continue
        many, few = int(node.attr(heads, 0)), int(node.attr(shared, 0))
        whole = _dims(graph, known, node.input(own) or node.input(given[0]))
        if len(whole) == _RANK:
            return {_RANK - 1: whole[-1]}
        # queries, keys and values in one
        parts = few if node.input(own) else many + 2 * few
        return {_RANK - 1: whole[-1] // parts if whole and whole[-1] and parts else None}
    return {}


def _dims(graph: Graph, known: dict[str, onnx.ValueInfoProto], name: str) -> list[int | None]:
    """Sizes of a tensor, as the file says or as weights do; [] where nothing is known, ``None`` for what is free."""
    if name in graph.parameters:
        return [*graph.parameters[name].dims]
    info = graph.inputs.get(name) or known.get(name)
    if info is not None and info.type.tensor_type.HasField("shape"):
        dims = [d.dim_value or None for d in info.type.tensor_type.shape.dim]
        if dims and dims[-1]:
            return dims
    node = graph.producers.get(name)
    if node is None:
        return []
    if node.op == "MatMul" and node.inputs[1] in graph.parameters:
        return [None, None, graph.parameters[node.inputs[1]].dims[-1]]
    if node.op == "MatMulNBits":
        return [None, None, int(node.attr("N", 0)) or None]
    if node.op == "Transpose" and node.attr("perm"):
        before = _dims(graph, known, node.inputs[0])
        return [before[at] for at in node.attr("perm")] if len(before) == len(node.attr("perm")) else []
    if node.op == "Reshape" and node.inputs[1] in graph.parameters:
        return [int(size) if size > 0 else None for size in graph.array(node.inputs[1]).reshape(-1)]
    if node.op in _ALIKE:
        return _dims(graph, known, node.inputs[0])
    if node.op in ("Add", "Mul"):
        return max((_dims(graph, known, each) for each in node.inputs), key=len)
    return []
