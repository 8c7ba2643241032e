"""Samples and labels in .npz and .npy files."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

import spa_cli
from spa_cli.calibration import read
from spa_cli.calibration.read import read_samples
from spa_cli.errors import UsageError
from tests.calibration.graphs import graph
from tests.samples import calib_path, model_path

ONE = graph(x=(TensorProto.FLOAT, ["n", 3]))
TWO = graph(x=(TensorProto.FLOAT, ["n", 3]), ids=(TensorProto.INT64, ["n", "t"]))
PLAIN = {"x": np.zeros((3, 3), np.float32)}


def test_an_npy_serves_a_single_input(tmp_path) -> None:
    np.save(tmp_path / "c.npy", np.arange(12.0).reshape(4, 3))
    found = read_samples(tmp_path / "c.npy", ONE)
    assert found.data["x"].tolist() == np.arange(12.0).reshape(4, 3).tolist()
    assert (found.count, found.labels, found.about) == (4, None, str(tmp_path / "c.npy"))
    with pytest.raises(UsageError, match=r"holds one array, the model has 2 inputs; give an \.npz with all"):
        read_samples(tmp_path / "c.npy", TWO)


def test_a_folder_is_stacked_in_the_order_of_names(tmp_path) -> None:
    for i, name in enumerate(("b.npz", "a.npz", "c.npz")):
        np.savez(tmp_path / name, x=np.full((i + 1, 3), i, np.float32), ids=np.full((i + 1, 5), i))
    (tmp_path / "notes.txt").write_text("ignored")
    data = read_samples(tmp_path, TWO).data
    assert data["x"][:, 0].tolist() == [1, 1, 0, 2, 2, 2]
    assert data["ids"].shape == (6, 5)


def test_files_that_do_not_fit_together(tmp_path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((2, 3), np.float32), ids=np.ones((2, 5), int))
    np.savez(tmp_path / "b.npz", x=np.ones((2, 3), np.float32), ids=np.ones((2, 6), int))
    with pytest.raises(UsageError, match=r"don't fit together: .*; give arrays that differ on axis 0 alone"):
        read_samples(tmp_path, TWO)


def test_the_sample_that_is_no_number_is_named(tmp_path) -> None:
    x = np.zeros((4, 3), np.float32)
    x[2, 1] = np.nan
    np.save(tmp_path / "c.npy", x)
    with pytest.raises(UsageError, match=r"input 'x' in '.*' holds NaN at \[2, 1\] \(the first is the sample, counted"):
        read_samples(tmp_path / "c.npy", ONE)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (TensorProto.FLOAT16, 7e4, "holds 70000 in sample 3, which float16 can't hold; give what the model takes"),
        (TensorProto.FLOAT, 1e39, r"holds 1e\+39 in sample 3, which float32 can't hold"),
        (TensorProto.UINT8, 256, "holds 256 in sample 3, which uint8 can't hold"),
        (TensorProto.INT64, 1e19, r"holds 1e\+19 in sample 3, which int64 can't hold"),
    ],
)
def test_what_the_type_of_the_input_can_not_hold(tmp_path, kind, value, said) -> None:
    x = np.zeros((4, 3))
    x[3, 2] = value
    np.save(tmp_path / "c.npy", x)
    with pytest.raises(UsageError, match=said):
        read_samples(tmp_path / "c.npy", graph(x=(kind, ["n", 3])))
    x[3, 2] = 200
    np.save(tmp_path / "c.npy", x)
    assert read_samples(tmp_path / "c.npy", graph(x=(kind, ["n", 3]))).count == 4


def test_inputs_have_equal_numbers_of_samples(tmp_path) -> None:
    np.savez(tmp_path / "c.npz", x=np.ones((2, 3), np.float32), ids=np.ones((4, 5), int))
    with pytest.raises(UsageError, match=r"different numbers of samples: \[2, 4\]"):
        read_samples(tmp_path / "c.npz", TWO)


def test_arrays_nobody_asked_for_are_ignored(tmp_path) -> None:
    np.savez(tmp_path / "c.npz", x=np.ones((2, 3), np.float32), labels=np.full(7, np.nan), more=np.array([{}]))
    assert set(read_samples(tmp_path / "c.npz", ONE).data) == {"x"}


def test_fixed_dimensions_of_the_model_bind_the_samples(tmp_path) -> None:
    np.save(tmp_path / "c.npy", np.ones((4, 5), np.float32))
    with pytest.raises(UsageError, match=r"has shape \(4, 5\)"):
        read_samples(tmp_path / "c.npy", ONE)


def test_one_reading_serves_a_whole_command(monkeypatch) -> None:
    reads = []
    monkeypatch.setattr(read, "read_arrays", lambda *a, by=read.read_arrays: (reads.append(a[0]), by(*a))[1])
    calib = calib_path("digits_mlp")
    spa_cli.prune(model_path("digits_mlp"), calib=calib, calib_samples=32, max_drift=0.5)
    assert reads == [calib]


def test_a_path_may_be_text(tmp_path) -> None:
    np.savez(tmp_path / "c.npz", **PLAIN)
    assert read_samples(str(tmp_path / "c.npz"), ONE).count == 3


def test_what_is_no_calibration_data(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"there is no calibration file '.*none'"):
        read_samples(tmp_path / "none", ONE)
    (tmp_path / "readme.md").write_text("nothing")
    with pytest.raises(UsageError, match=r"holds no \.npz or \.npy file, no images and no saved dataset"):
        read_samples(tmp_path, ONE)
    np.save(tmp_path / "c.npy", np.float32(1))
    with pytest.raises(UsageError, match="is a single number; stack samples on axis 0"):
        read_samples(tmp_path / "c.npy", _without_shape())


def _without_shape():
    found = graph(x=(TensorProto.FLOAT, ["n", 3]))
    found.inputs["x"].type.tensor_type.ClearField("shape")
    return found


@pytest.mark.parametrize("name", ["labels", "label", "y", "targets"])
def test_labels_lie_beside_the_samples(tmp_path, name) -> None:
    np.savez(tmp_path / "c.npz", **PLAIN, **{name: np.array([2, 0, 1])})
    found = read_samples(tmp_path / "c.npz", ONE).labels
    assert found is not None
    assert found.tolist() == [2, 0, 1]


def test_an_input_of_that_name_is_no_label(tmp_path) -> None:
    both = graph(x=(TensorProto.FLOAT, ["n", 3]), y=(TensorProto.FLOAT, ["n", 2]))
    np.savez(tmp_path / "c.npz", **PLAIN, y=np.zeros((3, 2)))
    assert read_samples(tmp_path / "c.npz", both).labels is None


def test_labels_of_a_folder_are_one_after_the_other(tmp_path) -> None:
    np.savez(tmp_path / "b.npz", x=np.zeros((1, 3)), labels=[7])
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3)), labels=[5, 6])
    found = read_samples(tmp_path, graph(x=(TensorProto.FLOAT, ["n", 3]))).labels
    assert found is not None
    assert found.tolist() == [5, 6, 7]
    np.savez(tmp_path / "c.npz", x=np.zeros((2, 3)))
    lacking = read_samples(tmp_path, ONE)
    assert lacking.count == 5
    with pytest.raises(UsageError, match=r"c\.npz' has no labels, others in '.*' have"):
        _ = lacking.labels


@pytest.mark.parametrize(
    "labels, says",
    [
        ([0, 1], "holds 2 labels for 3 samples"),
        (["a", "b", "c"], "not all finite numbers"),
        ([0, np.nan, 1], "not all finite numbers"),
        (np.array([{}, {}, {}]), "the labels in '.*' can't be read: .*; save them as numbers"),
    ],
)
def test_labels_that_do_not_fit_are_refused_where_they_are_wanted(tmp_path, labels, says) -> None:
    np.savez(tmp_path / "c.npz", **PLAIN, labels=labels)
    found = read_samples(tmp_path / "c.npz", ONE)
    assert found.count == 3
    with pytest.raises(UsageError, match=says):
        _ = found.labels


def test_labels_of_several_ranks(tmp_path) -> None:
    np.savez(tmp_path / "a.npz", **PLAIN, labels=[0, 1, 2])
    np.savez(tmp_path / "b.npz", **PLAIN, labels=np.zeros((3, 2)))
    with pytest.raises(UsageError, match=r"the labels in '.*' don't fit together: .*; give each sample as many"):
        _ = read_samples(tmp_path, ONE).labels
