"""Calibration data and synthetic inputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from spa_cli.errors import UsageError
from spa_cli.graph.model import Graph
from spa_cli.graph.view import build
from spa_cli.verification.inputs import batch_of, read_calibration, synthetic


def _graph(**inputs: tuple[int, list[int | str]]) -> Graph:
    infos = [helper.make_tensor_value_info(n, dtype, shape) for n, (dtype, shape) in inputs.items()]
    return build(helper.make_model(helper.make_graph([], "g", infos, [])), "")


ONE = _graph(x=(TensorProto.FLOAT, ["n", 3]))
TWO = _graph(x=(TensorProto.FLOAT, ["n", 3]), ids=(TensorProto.INT64, ["n", "t"]))


def test_an_npy_serves_a_single_input(tmp_path) -> None:
    np.save(tmp_path / "c.npy", np.arange(12.0).reshape(4, 3))
    data = read_calibration(tmp_path / "c.npy", ONE)
    assert data["x"].shape == (4, 3)
    assert read_calibration(tmp_path / "c.npy", ONE, limit=2)["x"].shape == (2, 3)
    with pytest.raises(UsageError, match="the model has 2 inputs"):
        read_calibration(tmp_path / "c.npy", TWO)


def test_a_folder_is_stacked_in_the_order_of_names(tmp_path) -> None:
    for i, name in enumerate(("b.npz", "a.npz", "c.npz")):
        np.savez(tmp_path / name, x=np.full((i + 1, 3), i, np.float32), ids=np.full((i + 1, 5), i))
    (tmp_path / "notes.txt").write_text("ignored")
    data = read_calibration(tmp_path, TWO)
    assert data["x"][:, 0].tolist() == [1, 1, 0, 2, 2, 2]
    assert data["ids"].shape == (6, 5)


def test_files_that_do_not_fit_together(tmp_path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((2, 3), np.float32), ids=np.ones((2, 5), int))
    np.savez(tmp_path / "b.npz", x=np.ones((2, 3), np.float32), ids=np.ones((2, 6), int))
    with pytest.raises(UsageError, match="don't fit together"):
        read_calibration(tmp_path, TWO)


def test_inputs_have_equal_numbers_of_samples(tmp_path) -> None:
    np.savez(tmp_path / "c.npz", x=np.ones((2, 3), np.float32), ids=np.ones((4, 5), int))
    with pytest.raises(UsageError, match=r"different numbers of samples: \[2, 4\]"):
        read_calibration(tmp_path / "c.npz", TWO)


def test_arrays_nobody_asked_for_are_ignored(tmp_path) -> None:
    np.savez(tmp_path / "c.npz", x=np.ones((2, 3), np.float32), labels=np.full(7, np.nan))
    assert set(read_calibration(tmp_path / "c.npz", ONE)) == {"x"}


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


def test_fixed_dimensions_of_the_model_bind_the_samples(tmp_path) -> None:
    np.save(tmp_path / "c.npy", np.ones((4, 5), np.float32))
    with pytest.raises(UsageError, match=r"has shape \(4, 5\)"):
        read_calibration(tmp_path / "c.npy", ONE)
    assert isinstance(ONE.model, onnx.ModelProto)
