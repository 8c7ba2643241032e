"""Weights as a file stores them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from spa_cli.adjoints.trainable import numbers
from spa_cli.graph.model import FLOAT_TYPES, Array, Graph
from spa_cli.graph.parameters import set_parameters
from spa_cli.graph.source import Source
from spa_cli.tuning.match import Weights


def as_stored(graph: Graph, weights: Weights) -> Weights:
    """The same numbers, rounded to the types that these weights of ``graph`` are stored in: (float32, float64)."""
    return {n: numbers(_in_type(value, graph.parameters[n].data_type)) for n, value in weights.items()}


def with_weights(pruned: Source, weights: Weights) -> onnx.ModelProto:
    """A copy of the model with these weights, in the types that they are stored in."""
    copy, stored = onnx.ModelProto(), pruned.graph.parameters
    copy.CopyFrom(pruned.model)
    set_parameters(
        copy.graph, lambda name: _in_type(weights[name], stored[name].data_type) if name in weights else None
    )
    return copy


def _in_type(value: Array, element: int) -> Array:
    dtype = helper.tensor_dtype_to_np_dtype(element)
    if element in FLOAT_TYPES:
        return value.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(value), limits.min, limits.max).astype(dtype)
