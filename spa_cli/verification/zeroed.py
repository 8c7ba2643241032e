"""The original with zeros for all that a cut removes: what the cut model has to compute like."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime import InferenceSession

from spa_cli.graph.data_file import DataFile
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.parameters import set_parameters
from spa_cli.runtime.session import open_session
from spa_cli.staging import private
from spa_cli.surgery.cut import Cut
from spa_cli.surgery.remaining import removed_mask

_DATA = "zeroed.data"


@contextmanager
def zeroed_session(graph: Graph, work: Cut, beside: Path | None = None) -> Iterator[InferenceSession]:
    """A session on it; weights that are too many for memory lie in a file of a private folder meanwhile.

    ``beside``: a folder on whose disk there is room for that. Raises OSError, and what onnxruntime raises.
    """
    if not graph.mapped:
        yield open_session(zeroed(graph, work))
        return
    with private(beside, None) as own:
        model = _in_file(graph, work, own.path)
        yield open_session(model, large=True, folder=str(own.path))


def zeroed(graph: Graph, work: Cut) -> onnx.ModelProto:
    """It, in memory."""
    masked = graph.in_memory()
    set_parameters(masked.graph, lambda name: _value(graph, work, name))
    return masked


def _value(graph: Graph, work: Cut, name: str) -> Array | None:
    """A parameter without what is removed, ``None`` if nothing is."""
    if name not in graph.parameters or not work.changed(name):
        return None
    array = np.array(graph.array(name))
    array[removed_mask(array.shape, work.kept_indices(name))] = 0
    return array


def _in_file(graph: Graph, work: Cut, folder: Path) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    data = DataFile(folder / _DATA, graph.folder)
    for tensor in model.graph.initializer:
        value = _value(graph, work, tensor.name)
        if value is not None:
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        data.take(tensor)
    return model
