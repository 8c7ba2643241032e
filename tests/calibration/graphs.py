"""Graphs with inputs and nothing else."""

from __future__ import annotations

from onnx import TensorProto, helper

from spa_cli.graph.model import Graph
from spa_cli.graph.view import build


def graph(**inputs: tuple[int, list[int | str]]) -> Graph:
    """Inputs by name: type and dimensions."""
    infos = [helper.make_tensor_value_info(n, dtype, shape) for n, (dtype, shape) in inputs.items()]
    return build(helper.make_model(helper.make_graph([], "g", infos, [])), "")


def image_graph(*dims: int | str, dtype: int = TensorProto.FLOAT) -> Graph:
    """One input "image"."""
    return graph(image=(dtype, list(dims)))
