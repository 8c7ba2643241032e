"""Batches and synthetic inputs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from spa_cli.errors import ModelError
from spa_cli.graph.model import Graph
from spa_cli.graph.view import build
from spa_cli.runtime.inputs import batch_of
from spa_cli.runtime.made_up import synthetic


def _graph(**inputs: tuple[int, list[int | str]]) -> Graph:
    infos = [helper.make_tensor_value_info(n, dtype, shape) for n, (dtype, shape) in inputs.items()]
    return build(helper.make_model(helper.make_graph([], "g", infos, [])), "")


ONE = _graph(x=(TensorProto.FLOAT, ["n", 3]))


def test_a_batch_has_the_types_and_the_batch_of_the_model() -> None:
    fixed = _graph(x=(TensorProto.FLOAT16, [2, 3]))
    data = {"x": np.ones((9, 3))}
    batch = batch_of(data, fixed, 8)
    assert (batch["x"].shape, batch["x"].dtype) == ((2, 3), np.float16)
    assert batch_of(data, ONE, 8)["x"].shape == (8, 3)


def test_synthetic_inputs_are_valid_and_repeatable() -> None:
    graph = _graph(
        x=(TensorProto.FLOAT, [4, 3]),
        ids=(TensorProto.INT64, [4, 7]),
        attention_mask=(TensorProto.INT64, [4, 7]),
        flag=(TensorProto.BOOL, [1]),
        text=(TensorProto.STRING, [2]),
    )
    shapes = {n: tuple(d.dim_value for d in i.type.tensor_type.shape.dim) for n, i in graph.inputs.items()}
    feeds = synthetic(graph, shapes, seed=5)
    assert {n: v.shape for n, v in feeds.items()} == shapes
    assert feeds["x"].dtype == np.float32
    assert set(np.unique(feeds["ids"])) <= {0, 1}
    assert feeds["attention_mask"].all()
    assert feeds["flag"].all()
    assert feeds["text"].tolist() == ["a", "a"]
    assert np.array_equal(feeds["x"], synthetic(graph, shapes, seed=5)["x"])
    assert not np.array_equal(feeds["x"], synthetic(graph, shapes, seed=6)["x"])


def test_inputs_of_any_size_are_not_made() -> None:
    graph = _graph(x=(TensorProto.FLOAT, [10**6, 10**6, 5]))
    with pytest.raises(
        ModelError, match=r"input 'x' of shape .1000000, 1000000, 5. takes more memory than there is; give"
    ):
        synthetic(graph, {"x": (10**6, 10**6, 5)})
