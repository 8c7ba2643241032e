"""What a node gives that reads nothing: the same numbers everywhere.

A layer all of whose channels are gone gives its bias, at every position; what follows it element by element gives
another such constant. One is an array of the tensor's rank with axes of size 1 wherever it is the same. Nothing at a
border is different: a padded layer that reads nothing reads zeros.
"""

from __future__ import annotations

import math
from collections.abc import Container

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from spa_cli.channels.state import Channels
from spa_cli.graph.model import Array, Node
from spa_cli.graph.shapes import reference
from spa_cli.operators.elementwise import elementwise
from spa_cli.operators.registry import record_of

# axes that come and go: what varies along the last axis alone is found there again
_FORMS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


def of_nothing(node: Node, state: Channels) -> Array | None:
    """What a layer gives when all it sums over is gone: its bias; ``None`` if the node is no such layer.

    An array of the output's rank, whole along the axis of the output channels and 1 elsewhere.
    """
    contracts = record_of(node).contracts
    if contracts is None or node.domain or contracts.scales or contracts.recurrence >= 0 or contracts.added >= 0:
        return None
    out, names = state.shapes.shape.get(node.outputs[0]), contracts.inputs(node)
    shapes = [state.shapes.shape.get(name) for name in names]
    weight = next((at for at, name in enumerate(names) if name in state.sources), None)
    if out is None or weight is None or len(names) != 2 or any(s is None for s in shapes):
        return None
    labels = contracts.labels(node, [len(s or ()) for s in shapes])
    made = [labels.terms[weight][axis] for axis in labels.output_axes(weight)]
    axes = [at for at, label in enumerate(labels.result) if label in made]
    size = out[axes[0]] if len(axes) == 1 else None
    if size is None:
        return None
    line = _bias(node, node.input(contracts.bias) if contracts.bias >= 0 else "", size, state)
    if line is None:
        return None
    dtype = tensor_dtype_to_np_dtype(state.shapes.dtype[node.outputs[0]])
    return line.reshape([size if at == axes[0] else 1 for at in range(len(out))]).astype(dtype)


def of_constants(node: Node, constants: dict[str, Array], state: Channels) -> Array | None:
    """What a node gives that reads nothing but constants and parameters, ``None`` if that is no constant."""
    out = state.shapes.shape.get(node.outputs[0])
    if out is None or node.domain or not all(i in constants or is_known(i, state) for i in node.inputs if i):
        return None
    found = None
    if _inference(node, "Dropout"):
        found = constants.get(node.inputs[0])
    elif record_of(node).relate is elementwise or node.op == "Transpose" or _inference(node, "BatchNormalization"):
        found = _computed(node, [constants[i] if i in constants else known(i, state) for i in node.inputs])
    elif node.op in _FORMS and node.inputs[0] in constants:
        found = _reshaped(node, constants[node.inputs[0]], state)
    if found is None or found.ndim > len(out) or not np.isfinite(found).all():
        return None
    return found.reshape((1,) * (len(out) - found.ndim) + found.shape)


def takes_constant(node: Node, constants: Container[str], state: Channels) -> bool:
    """Whether a node that also reads what lives can have constants in the place of these tensors.

    It works element by element, and something that lives has the shape of what it gives, at any size of the inputs.
    """
    shapes = state.shapes

    def same(other: str) -> bool:
        size, wanted = shapes.shape.get(other), shapes.shape.get(node.outputs[0])
        sure = size is not None and None not in size and size == wanted
        return sure and shapes.elsewhere.get(other) == shapes.elsewhere.get(node.outputs[0])

    alive = (i for i in node.inputs if i and i not in constants and not is_known(i, state))
    return record_of(node).relate is elementwise and not node.domain and any(map(same, alive))


def is_known(name: str, state: Channels) -> bool:
    """Whether a tensor is a parameter, or computed from parameters alone (as far as those are small)."""
    if name in state.graph.parameters or state.value(name) is not None:
        return True
    filled = _filled_with(name, state)
    return bool(filled) and is_known(filled, state)


def known(name: str, state: Channels) -> Array | None:
    """Value of such a tensor, ``None`` if it is none."""
    value = state.value(name)
    if value is None and name in state.graph.parameters:
        return state.graph.array(name)
    filled = _filled_with(name, state) if value is None else ""
    if filled:
        value = known(filled, state)
        return None if value is None else np.broadcast_to(value, state.shape(name))
    return value


def _filled_with(name: str, state: Channels) -> str:
    """What a tensor of fixed size is filled with, whatever type the input has ("" if it is made otherwise).

    PyTorch writes a bias like that where a layer has none.
    """
    maker, shapes = state.graph.producers.get(name), state.shapes
    size = shapes.shape.get(name)
    fixed = size is not None and None not in size and size == (shapes.elsewhere or shapes.shape).get(name)
    return maker.inputs[0] if maker is not None and maker.op in ("CastLike", "Expand") and fixed else ""


def _bias(node: Node, name: str, size: int, state: Channels) -> Array | None:
    """One number per output channel, ``None`` if the bias is something else."""
    if not name:
        return np.zeros(size)
    value = known(name, state)
    if value is None or math.prod(value.shape[:-1]) != 1 or value.size not in (1, size):
        return None
    return np.broadcast_to(float(node.attr("beta", 1.0)) * value.reshape(-1).astype(np.float64), (size,))


def _inference(node: Node, op: str) -> bool:
    """Whether a node is of that operator and gives one tensor, as it does after training."""
    alone = len([o for o in node.outputs if o]) == 1 and not node.attr("training_mode", 0)
    return node.op == op and not node.domain and alone and not (op == "Dropout" and node.input(2))


def _computed(node: Node, values: list[Array | None]) -> Array | None:
    try:
        with np.errstate(all="ignore"):
            results = reference(node, values)
    except Exception:  # noqa: BLE001 - no NumPy reference for this type or version
        return None
    return np.asarray(results[0]) if len(results) == 1 or node.op == "BatchNormalization" else None


def _reshaped(node: Node, value: Array, state: Channels) -> Array | None:
    before, after = (state.shapes.shape.get(n) or () for n in (node.inputs[0], node.outputs[0]))
    if value.size == 1:
        return value.reshape((1,) * len(after))
    alike = bool(before and after) and before[-1] == after[-1] == value.shape[-1]
    return value.reshape((1,) * (len(after) - 1) + (-1,)) if alike and value.size == value.shape[-1] else None
