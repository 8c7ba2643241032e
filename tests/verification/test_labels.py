from typing import Any

import numpy as np
import pytest
from onnx import helper

from spa_cli.errors import UsageError
from spa_cli.graph.load import load
from spa_cli.verification.labels import read_labels


def graph(*inputs) -> Any:
    nodes = [helper.make_node("Sum", list(inputs), ["out"])]
    values = [helper.make_tensor_value_info(n, 1, ["n", 2]) for n in inputs]
    out = helper.make_tensor_value_info("out", 1, ["n", 2])
    made = helper.make_graph(nodes, "g", values, [out])
    return load(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)).graph


@pytest.mark.parametrize("name", ["labels", "label", "y", "targets"])
def test_labels_lie_beside_the_samples(tmp_path, name) -> None:
    np.savez(tmp_path / "c.npz", x=np.zeros((3, 2)), **{name: np.array([2, 0, 1])})
    found = read_labels(tmp_path / "c.npz", graph("x"), 3)
    assert found is not None
    assert found.tolist() == [2, 0, 1]


def test_an_input_of_that_name_is_no_label(tmp_path) -> None:
    np.savez(tmp_path / "c.npz", x=np.zeros((3, 2)), y=np.zeros((3, 2)))
    assert read_labels(tmp_path / "c.npz", graph("x", "y"), 3) is None


def test_files_of_a_folder_are_one_after_the_other(tmp_path) -> None:
    np.savez(tmp_path / "b.npz", x=np.zeros((1, 2)), labels=[7])
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 2)), labels=[5, 6])
    found = read_labels(tmp_path, graph("x"), 3)
    assert found is not None
    assert found.tolist() == [5, 6, 7]
    np.savez(tmp_path / "c.npz", x=np.zeros((2, 2)))
    with pytest.raises(UsageError, match=r"c\.npz' has no labels"):
        read_labels(tmp_path, graph("x"), 5)


def test_none_are_none(tmp_path) -> None:
    np.save(tmp_path / "c.npy", np.zeros((3, 2)))
    np.savez(tmp_path / "c.npz", x=np.zeros((3, 2)))
    assert read_labels(tmp_path / "c.npy", graph("x"), 3) is None
    assert read_labels(tmp_path / "c.npz", graph("x"), 3) is None


def test_labels_that_do_not_fit_are_refused(tmp_path) -> None:
    path = tmp_path / "c.npz"
    np.savez(path, x=np.zeros((3, 2)), labels=[0, 1])
    with pytest.raises(UsageError, match="holds 2 labels for 3 samples"):
        read_labels(path, graph("x"), 3)
    np.savez(path, x=np.zeros((3, 2)), labels=["a", "b", "c"])
    with pytest.raises(UsageError, match="not all finite numbers"):
        read_labels(path, graph("x"), 3)
    np.savez(path, x=np.zeros((3, 2)), labels=[0, np.nan, 1])
    with pytest.raises(UsageError, match="not all finite numbers"):
        read_labels(path, graph("x"), 3)
    path.write_bytes(b"no zip")
    with pytest.raises(UsageError, match="can't be read"):
        read_labels(path, graph("x"), 3)
