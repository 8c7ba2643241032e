"""Attention and rotary embeddings in parts: products, a softmax, sizes that the running model knows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from spa_cli.adjoints.emitter import NoAdjoint, Value
from spa_cli.adjoints.expand import written_out
from spa_cli.adjoints.table import Call

# what keeps a position out: nothing is left of it after a softmax
_OUT = -1e30


def apart(x: Value, heads: int) -> Value:
    """(b, s, h * d) to (b, h, s, d)."""
    e = x.emit
    return e.transpose(e.reshape(x, [0, 0, heads, -1]), [0, 2, 1, 3])


def together(x: Value) -> Value:
    """(b, h, s, d) to (b, s, h * d)."""
    e = x.emit
    return e.reshape(e.transpose(x, [0, 2, 1, 3]), [0, 0, -1])


def repeated(x: Value, times: int) -> Value:
    """Every head ``times`` behind each other."""
    if times == 1:
        return x
    e = x.emit
    dims = e.shape(x)
    batch_heads, rest = e.slice(dims, [0], [2], [0]), e.slice(dims, [2], [4], [0])
    wide = e.expand(e.unsqueeze(x, [2]), e.concat([batch_heads, e.ints([times]), rest], 0))
    batch = e.slice(dims, [0], [1], [0])
    return e.reshape(wide, e.concat([batch, e.ints([-1]), rest], 0))


def causal(q: Value, k: Value, offset: Value | None = None) -> Value:
    """What is added to scores (b, h, s, t) so that a row sees no column behind it.

    ``offset``: columns before those of the rows; by default the last row sees all.
    """
    e = q.emit
    rows, columns = e.size(q, 2), e.size(k, 2)
    first = columns - rows if offset is None else offset
    at = e.unsqueeze(e.arange(rows) + first, [1])
    return e.cast(e.unsqueeze(e.arange(columns), [0]) > at, q.dtype) * _OUT


def attend(q: Value, k: Value, v: Value, scale: float, added: Sequence[Value], softcap: float = 0.0) -> Value:
    """``softmax(scale q k^T + added) v``, all (b, h, ., d)."""
    e = q.emit
    scores = (q @ e.transpose(k, [0, 1, 3, 2])) * scale
    if softcap:
        scores = e.op("Tanh", scores / softcap) * softcap
    for mask in added:
        scores = scores + mask
    return e.op("Softmax", scores, axis=3) @ v


def _known(c: Call, index: int, axis: int) -> int:
    return c.sizes.here(c.node.inputs[index], axis)


def _scale(c: Call, width: int) -> float:
    """The factor of the scores, if none is given (or zero) by the width of a head."""
    return float(c.node.attr("scale", 0.0)) or 1 / math.sqrt(width)


def _kept(c: Call, index: int) -> Value:
    """A mask of onnxruntime's own, ones where a position counts: (b, t) or (b, s, t)."""
    rank = c.rank(index)
    if rank not in (2, 3):
        raise NoAdjoint("its mask has lengths")
    mask = (1.0 - c.emit.cast(c.x(index), 1)) * float(c.node.attr("mask_filter_value", -10000.0))
    return c.emit.unsqueeze(mask, [1, 2] if rank == 2 else [1])


@written_out("Attention")
def fused_attention(c: Call) -> list[Value | None]:
    """Projections in one product, and attention between them."""
    e, heads = c.emit, int(c.node.attr("num_heads"))
    if c.node.attr("do_rotary", 0) or c.has(6):
        raise NoAdjoint("it rotates, or shares a buffer of the past")
    width = _known(c, 1, 1)
    widths = [int(w) for w in c.node.attr("qkv_hidden_sizes", [width // 3] * 3)]
    qkv = c.x(0) @ c.x(1)
    if c.has(2):
        qkv = qkv + c.x(2)
    at = [0, widths[0], widths[0] + widths[1], width]
    q, k, v = (apart(e.slice(qkv, [a], [b], [2]), heads) for a, b in itertools.pairwise(at))
    present = None
    if c.has(4):
        past = [e.op("Gather", c.x(4), e.constant(i, 7), axis=0) for i in range(2)]
        k, v = (e.concat([p, x], 2) for p, x in zip(past, (k, v), strict=True))
    if len(c.node.outputs) > 1:
        present = e.concat([e.unsqueeze(x, [0]) for x in (k, v)], 0)
    added = [_kept(c, 3)] if c.has(3) else []
    if c.has(5):
        added.append(c.x(5))
    if c.node.attr("unidirectional", 0):
        added.append(causal(q, k))
    return [together(attend(q, k, v, _scale(c, widths[0] // heads), added)), present]


@written_out("MultiHeadAttention")
def multi_head_attention(c: Call) -> list[Value | None]:
    """Attention between projections; keys and values in heads already, where they are a cache."""
    e, heads = c.emit, int(c.node.attr("num_heads"))
    if not c.has(1) or not c.has(2) or c.rank(0) != 3 or c.rank(1) not in (3, 4):
        raise NoAdjoint("its operands are packed")
    if len(c.node.inputs) > 8 and any(c.node.inputs[8:]):
        raise NoAdjoint("it shares a buffer of the past")
    whole = c.rank(1) == 4
    parts = [c.x(i) for i in range(3)]
    if c.has(3):
        widths = [_known(c, 0, 2)] * 2 + [_known(c, 3, 0) - 2 * _known(c, 0, 2)]
        at = [0, widths[0], 2 * widths[0], sum(widths)]
        bias = [e.slice(c.x(3), [a], [b], [0]) for a, b in itertools.pairwise(at)]
        parts = [p if whole and i else p + b for i, (p, b) in enumerate(zip(parts, bias, strict=True))]
    q, k, v = (p if whole and i else apart(p, heads) for i, p in enumerate(parts))
    if c.has(6):
        k, v = (e.concat([c.x(i), x], 2) for i, x in ((6, k), (7, v)))
    added = [_kept(c, 4)] if c.has(4) else []
    if c.has(5):
        added.append(c.x(5))
    if c.node.attr("unidirectional", 0):
        added.append(causal(q, k))
    return [together(attend(q, k, v, _scale(c, _known(c, 0, 2) // heads), added)), k, v]


@written_out("GroupQueryAttention")
def group_query_attention(c: Call) -> list[Value | None]:
    """Causal attention whose keys and values several heads share, without a past, over sequences of full length."""
    e, heads, shared = c.emit, int(c.node.attr("num_heads")), int(c.node.attr("kv_num_heads"))
    if not c.has(1) or not c.has(2):
        raise NoAdjoint("its operands are packed")
    if c.has(3) and c.sizes.fixed(c.node.inputs[3])[2] != 0:
        raise NoAdjoint("it has a past")
    if int(c.node.attr("local_window_size", -1)) != -1 or len(c.node.inputs) > 9:
        raise NoAdjoint("it has a window, a bias or sinks")
    q, k, v = apart(c.x(0), heads), apart(c.x(1), shared), apart(c.x(2), shared)
    if c.node.attr("do_rotary", 0):
        interleaved = bool(c.node.attr("rotary_interleaved", 0))
        half = 2 * _known(c, 7, 1)
        steps = e.unsqueeze(e.arange(e.size(q, 2)), [0])
        cos, sin = (e.unsqueeze(e.op("Gather", c.x(i), steps, axis=0), [1]) for i in (7, 8))
        q, k = (rotated(x, cos, sin, half, _known(c, 0, 2) // heads, interleaved) for x in (q, k))
    keys, values = (repeated(x, heads // shared) for x in (k, v))
    scale, softcap = _scale(c, _known(c, 0, 2) // heads), float(c.node.attr("softcap", 0.0))
    y = attend(q, keys, values, scale, [causal(q, k)], softcap)
    return [together(y), k, v]


@written_out("Attention", "")
def attention(c: Call) -> list[Value | None]:
    """Of opset 23: operands in heads or not, which several heads may share."""
    e = c.emit
    if c.has(6):
        raise NoAdjoint("it has lengths of sequences")
    q, k, v = (c.x(i) for i in range(3))
    flat = c.rank(0) == 3
    if flat:
        heads, shared = int(c.node.attr("q_num_heads")), int(c.node.attr("kv_num_heads"))
        width = _known(c, 0, 2) // heads
        q, k, v = apart(q, heads), apart(k, shared), apart(v, shared)
    else:
        heads, shared, width = _known(c, 0, 1), _known(c, 1, 1), _known(c, 0, 3)
    past = e.size(c.x(4), 2) if c.has(4) else e.ints([0])
    if c.has(4):
        k, v = (e.concat([c.x(i), x], 2) for i, x in ((4, k), (5, v)))
    added = []
    if c.has(3):
        mask = c.x(3)
        added.append(e.cast(~mask, q.dtype) * _OUT if mask.dtype == 9 else e.cast(mask, q.dtype))
    if c.node.attr("is_causal", 0):
        added.append(causal(q, k, past))
    keys, values = (repeated(x, heads // shared) for x in (k, v))
    y = attend(q, keys, values, _scale(c, width), added, float(c.node.attr("softcap", 0.0)))
    return [together(y) if flat else y, k, v]


def rotated(x: Value, cos: Value, sin: Value, part: int, width: int, interleaved: bool) -> Value:
    """(b, h, s, width) with pairs of its first ``part`` numbers turned; ``cos`` and ``sin`` (b, 1, s, part / 2)."""
    e = x.emit
    turned, rest = x, None
    if part < width:
        turned, rest = e.slice(x, [0], [part], [3]), e.slice(x, [part], [width], [3])
    if interleaved:
        real, imaginary = (e.slice(turned, [i], [2**62], [3], [2]) for i in range(2))
    else:
        real, imaginary = e.slice(turned, [0], [part // 2], [3]), e.slice(turned, [part // 2], [part], [3])
    both = [real * cos - imaginary * sin, real * sin + imaginary * cos]
    if interleaved:
        pairs = e.concat([e.unsqueeze(b, [4]) for b in both], 4)
        found = e.reshape(pairs, [0, 0, 0, -1])
    else:
        found = e.concat(both, 3)
    return found if rest is None else e.concat([found, rest], 3)


def _rotary(c: Call, positions: int, cos: int, sin: int) -> list[Value | None]:
    e, heads = c.emit, int(c.node.attr("num_heads", 0))
    flat = c.rank(0) == 3
    tables = [c.x(cos), c.x(sin)]
    if c.has(positions):
        places = c.x(positions)
        if c.fixed(positions) == [1]:
            # where the first token stands
            places = e.unsqueeze(places + e.arange(e.size(c.x(0), 1 if flat else 2)), [0])
        elif c.rank(positions) != 2:
            raise NoAdjoint("its positions are of a rank that it does not know")
        tables = [e.op("Gather", t, places, axis=0) for t in tables]
    part = int(c.node.attr("rotary_embedding_dim", 0))
    if flat:
        width = _known(c, 0, 2) // heads if heads else part or 2 * _known(c, cos, 1)
        x = apart(c.x(0), heads or _known(c, 0, 2) // width)
    else:
        width, x = _known(c, 0, 3), c.x(0)
    wide = [e.unsqueeze(t, [1]) for t in tables]
    y = rotated(x, wide[0], wide[1], part or width, width, bool(c.node.attr("interleaved", 0)))
    return [together(y) if flat else y]


@written_out("RotaryEmbedding")
def fused_rotary(c: Call) -> list[Value | None]:
    """Onnxruntime's."""
    return _rotary(c, 1, 2, 3)


@written_out("RotaryEmbedding", "")
def rotary(c: Call) -> list[Value | None]:
    """Of opset 23."""
    return _rotary(c, 3, 1, 2)
