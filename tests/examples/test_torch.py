"""Pruning at any time in PyTorch: accuracy, sizes, and that both routes lead to the same network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from tests.extras import needs
from tests.samples import MANIFEST

needs("torch", "onnxscript", "safetensors", "sklearn")

import torch
import torch_after_training
import torch_before_training
import torch_schedule
import torch_without_training
from digits_torch import TASKS, accuracy, onnx_scores, scores, write_samples
from routes_torch import cut, export_classic

FLOAT = TensorProto.FLOAT
# what PyTorch's exporters say to their own developers
pytestmark = pytest.mark.filterwarnings("ignore")
every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def holds(row, points=1.0) -> None:
    assert row.macs <= 0.5
    assert row.accuracy >= row.dense - points, row


def same_scores(smaller) -> None:
    np.testing.assert_allclose(scores(smaller.model), onnx_scores(smaller.folder / "small.onnx"), rtol=1e-5, atol=1e-5)


@every_task
def test_the_dense_network_is_the_sample_models(task) -> None:
    original = task.original().eval()
    ours = task.network(original.state_dict())
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(original(images), ours.eval()(images))
    known = 100 * MANIFEST[f"digits_{task.name}"]["test_accuracy"]
    assert accuracy(scores(task.dense())) == pytest.approx(known, abs=0.5)


@every_task
@pytest.mark.parametrize("method", ["l1", "obspa"])
def test_both_routes_give_the_same_network(task, method, tmp_path) -> None:
    options = {"repaired": True, "calib": write_samples(tmp_path)} if method == "obspa" else {}
    smaller = cut(task.dense(), tmp_path, target_macs=0.5, method=method, **options)
    same_scores(smaller)
    assert smaller.macs <= 0.5
    assert np.abs(scores(smaller.model) - scores(task.dense())).max() > 0.1


@pytest.mark.parametrize("exporter", [None, export_classic])
def test_heads_may_go(exporter, tmp_path) -> None:
    for only in ("*/blocks", "*qkv*", "*"):
        smaller = cut(TASKS["vit"].dense(), tmp_path, exporter=exporter, ratio=0.5, method="l1", only=(only,))
        same_scores(smaller)
        if only == "*/blocks":
            assert sum(block.attn.heads for block in smaller.model.blocks) == 6
            again = cut(smaller.model, tmp_path, exporter=exporter, ratio=0.4, method="l1")
            same_scores(again)


@every_task
def test_before_training(task, tmp_path) -> None:
    holds(torch_before_training.before_training(task, tmp_path))


@every_task
def test_after_training_without_labels(task, tmp_path) -> None:
    holds(torch_without_training.without_training(task, tmp_path), points=3.0)
    assert np.load(tmp_path / "samples.npz").files == ["image"]


@every_task
def test_after_training_with_fine_tuning(task, tmp_path) -> None:
    holds(torch_after_training.fine_tuned(task, tmp_path))


@every_task
def test_the_pruned_file_goes_back_to_training_and_out_again(task, tmp_path) -> None:
    holds(torch_after_training.fine_tuned_file(task, tmp_path))
    small, tuned = (onnx.load(tmp_path / f"{name}.onnx").graph for name in ("small", "tuned"))
    assert (tuned.input, tuned.output, tuned.node) == (small.input, small.output, small.node)
    pairs = list(zip(small.initializer, tuned.initializer, strict=True))
    assert all((a.name, a.dims) == (b.name, b.dims) for a, b in pairs)
    # norms keep their statistics
    weights = [
        (a, b) for a, b in pairs if a.data_type == FLOAT and not a.name.endswith(("running_mean", "running_var"))
    ]
    assert not any(np.array_equal(*map(numpy_helper.to_array, both)) for both in weights)


def test_a_schedule(tmp_path) -> None:
    rows = torch_schedule.schedule(TASKS["resnet"], tmp_path)
    for row, fewer in zip(rows, torch_schedule.ROUNDS, strict=True):
        assert 1 / 1.04 < row.macs * fewer <= 1
        assert row.accuracy >= row.dense - 1
    # that every round takes on where the one before left off needs no training to the end
    rows = torch_schedule.schedule(replace(TASKS["vit"], tuning=(1, 1e-3)), tmp_path / "vit", (1.25, 2.0))
    assert rows[-1].macs <= 0.5
