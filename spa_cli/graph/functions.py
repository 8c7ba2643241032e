"""Local functions, before every call of them is written out: each may call the one before it twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import onnx

from spa_cli.errors import ModelError
from spa_cli.graph.bodies import all_nodes
from spa_cli.graph.external import INLINE_LIMIT

# bytes that a node takes, about, here and in onnxruntime
_NODE = 10_000

_Key = tuple[str, str, str]
_MAIN = ("", "", "")


def check_functions(model: onnx.ModelProto, name: str) -> None:
    """Raises ModelError where the calls of local functions, written out, are more than any model may hold."""
    if written_out(model) > INLINE_LIMIT:
        raise ModelError(
            f"the local functions of '{name}' take more than {INLINE_LIMIT / 1e9:.1f} GB once every call is written "
            "out; export the model without them"
        )


def written_out(model: onnx.ModelProto) -> int:
    """About how many bytes the nodes take then; 0 where functions call themselves."""
    own = {_MAIN: _own(all_nodes(model.graph))}
    for function in model.functions:
        own[_key(function, function.name)] = _own(all_nodes(function))
    sizes: dict[_Key, int] = {}
    stack, seen = [_MAIN], set[_Key]()
    while stack:
        top = stack[-1]
        size, calls = own[top]
        waiting = [key for key in calls if key in own and key not in sizes]
        if not waiting:
            sizes[top] = size + sum(count * sizes.get(key, 0) for key, count in calls.items())
            stack.pop()
        elif top in seen:
            return 0
        else:
            seen.add(top)
            stack += waiting
    return sizes[_MAIN]


def _own(nodes: Iterable[onnx.NodeProto]) -> tuple[int, Counter[_Key]]:
    """Bytes of nodes, and what they might call."""
    size, calls = 0, Counter[_Key]()
    for node in nodes:
        size += max(node.ByteSize(), _NODE)
        calls[_key(node, node.op_type)] += 1
    return size, calls


def _key(named: onnx.NodeProto | onnx.FunctionProto, name: str) -> _Key:
    # older versions of onnx know no overloads
    return (named.domain, name, getattr(named, "overload", ""))
