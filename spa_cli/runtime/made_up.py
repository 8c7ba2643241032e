"""Values to run a model on where there are no samples: noise, small integers, and what follows from the shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx

from spa_cli.errors import ModelError
from spa_cli.graph.model import Array, Graph
from spa_cli.memory import whole_memory
from spa_cli.runtime.follows import follows
from spa_cli.runtime.inputs import input_dtype
from spa_cli.runtime.session import Feeds

# bytes of an element while it is drawn
_WIDEST = 8


def synthetic(graph: Graph, shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> Feeds:
    """Normal noise for floats, small valid integers for indices, ones for masks, what follows from ``shapes``.

    Raises ModelError where the declared shapes take more than the machine has.
    """
    rng = np.random.default_rng(seed)
    elements = {name: graph.inputs[name].type.tensor_type.elem_type for name in shapes}
    feeds: Feeds = {}
    for name, shape in shapes.items():
        feeds[name] = made_up(name, elements[name], shape, rng)
        if (known := follows(graph, name, shapes)) is not None:
            feeds[name] = np.broadcast_to(known.value, shape).astype(feeds[name].dtype)
    return feeds


def made_up(name: str, element: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """One of those inputs, of an ONNX element type; raises ModelError as ``synthetic`` does."""
    if math.prod(shape) * _WIDEST > whole_memory():
        raise ModelError(f"input '{name}' of shape {list(shape)} takes more memory than there is; give --input-shape")
    if element == onnx.TensorProto.STRING:
        return np.full(shape, "a", object)
    dtype = input_dtype(element)
    if np.issubdtype(dtype, np.floating):
        return np.asarray(rng.standard_normal(shape)).astype(dtype)
    if dtype is np.bool_ or "mask" in name.lower():
        return np.ones(shape, dtype)
    return rng.integers(0, 2, shape).astype(dtype)
