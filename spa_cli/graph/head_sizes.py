"""The size of a head, where a cache of attention leaves it free and what reads the cache does not.

The builder of onnxruntime-genai declares caches as [batch, heads, past, kv_cache_dim] (0.18): nothing in that says how
wide a head is, and no other size runs.
"""

from __future__ import annotations

import onnx

from spa_cli.graph.model import Graph, Node

# what reads caches, queries, keys and values in front: its inputs of the pasts of keys and of values, and how it calls
# heads
_ATTENTION = {
    "GroupQueryAttention": ((3, 4), ("num_heads", "kv_num_heads")),
    "MultiHeadAttention": ((6, 7), ("num_heads", "num_heads")),
    "DecoderMaskedMultiHeadAttention": ((5, 6), ("num_heads", "num_heads")),
    "Attention": ((4, 5), ("q_num_heads", "kv_num_heads")),
}
# a cache: samples, heads, positions, channels of a head
_RANK = 4
# what gives as many channels as the first input has
_ALIKE = frozenset({"Identity", "Cast", "RotaryEmbedding", "SimplifiedLayerNormalization", "LayerNormalization"})
# nodes between a weight and what reads a cache, at most
_FAR = 8


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
        along = _whole(node, "axis") % _RANK
        dims = [_dims(graph, known, other) for other in node.inputs if other != name]
        return {at: d[at] for d in dims if len(d) == _RANK for at in range(_RANK) if at != along and d[at]}
    if node.op not in _ATTENTION:
        return {}
    pasts, (heads, shared) = _ATTENTION[node.op]
    for own, past in enumerate(pasts, 1):
        if node.input(past) != name:
            continue
        many, few = _whole(node, heads), _whole(node, shared)
        width = _dims(graph, known, node.input(own) or node.input(0))
        if len(width) >= _RANK:
            # heads lie on an axis of their own
            return {_RANK - 1: width[-1]}
        # queries, keys and values in one
        parts = few if node.input(own) else many + 2 * few
        return {_RANK - 1: width[-1] // parts if width and width[-1] and parts > 0 else None}
    return {}


def _whole(node: Node, attribute: str) -> int:
    value = node.attr(attribute, 0)
    return value if isinstance(value, int) else 0


def _dims(graph: Graph, known: dict[str, onnx.ValueInfoProto], name: str, far: int = _FAR) -> list[int | None]:
    """Sizes of a tensor, as the file says or weights do, ``far`` nodes back at most; ``None`` of what is free, [] where
    nothing is known.
    """
    if name in graph.parameters:
        return [*graph.parameters[name].dims]
    info = graph.inputs.get(name) or known.get(name)
    if info is not None and info.type.tensor_type.HasField("shape"):
        dims = [d.dim_value or None for d in info.type.tensor_type.shape.dim]
        if dims and dims[-1]:
            return dims
    node = graph.producers.get(name)
    if node is None or not far:
        return []
    second = graph.parameters.get(node.input(1))
    if node.op == "MatMul" and second is not None and second.dims:
        return [None, None, second.dims[-1]]
    if node.op == "MatMulNBits":
        return [None, None, _whole(node, "N") or None]
    if node.op == "Reshape" and second is not None:
        return [int(size) if size > 0 else None for size in graph.array(node.inputs[1]).reshape(-1)]
    if node.op in ("Add", "Mul"):
        return max((_dims(graph, known, each, far - 1) for each in node.inputs), key=len, default=[])
    if node.op not in _ALIKE | {"Transpose"}:
        return []
    before = _dims(graph, known, node.input(0), far - 1)
    if node.op in _ALIKE:
        return before
    order = node.attr("perm", ())
    return [before[at] for at in order] if sorted(order) == [*range(len(before))] else []
