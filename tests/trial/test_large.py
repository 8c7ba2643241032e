"""Models whose weights are too many for memory: they stay in files, and everything is done as with others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa_cli
from spa_cli.analysis import analyse_model
from spa_cli.channels.selection import Selection
from spa_cli.graph import model as graph_model
from spa_cli.obspa.curvature import Curvature
from spa_cli.runtime.load import load
from spa_cli.runtime.made_up import synthetic
from spa_cli.verification.check import zeroing_differs
from tests.builders import build
from tests.graph.files import save_external

TEXT = """(float[N,12] x) => (y) {
  a = MatMul(x, w1)  a1 = Add(a, b1)  b = Relu(a1)  c = MatMul(b, w2)  c1 = Add(c, b2)  d = Relu(c1)
  e = MatMul(d, w3)  y = Add(e, b3)
}"""


@pytest.fixture
def path(tmp_path) -> Path:
    weights = {"w1": (12, 40), "b1": (40,), "w2": (40, 40), "b2": (40,), "w3": (40, 10), "b3": (10,)}
    np.save(tmp_path / "calib.npy", np.random.default_rng(1).standard_normal((96, 12)).astype(np.float32))
    return save_external(build(TEXT, **weights), tmp_path / "m.onnx")


def pruned(path: Path, name: str, **options: object) -> spa_cli.Result:
    out = path.with_name(name)
    return spa_cli.prune(path, ratio=0.4, calib=path.with_name("calib.npy"), out=out, round_to=1, **options)


def weights(path: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def assert_equal(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_weights_in_files_are_repaired_as_those_in_memory_are(path, monkeypatch) -> None:
    files = [path, path.with_name("weights.bin")]
    before = [file.read_bytes() for file in files]
    small = pruned(path, "small.onnx")
    monkeypatch.setattr(graph_model, "MAPPED", 0)
    mapped = pruned(path, "mapped.onnx")
    assert [file.read_bytes() for file in files] == before
    assert mapped.plan.kept == small.plan.kept
    assert mapped.plan.about["repair"]["refitted"] == small.plan.about["repair"]["refitted"] > 0
    assert mapped.warnings == small.warnings == []
    assert_equal(path.with_name("small.onnx"), path.with_name("mapped.onnx"))


def test_a_repair_that_is_dropped_leaves_what_was_cut(path, monkeypatch) -> None:
    monkeypatch.setattr(graph_model, "MAPPED", 0)
    plain = pruned(path, "plain.onnx", repair=False)
    errors = iter([0.1, 0.2])
    monkeypatch.setattr(Curvature, "_error", lambda *_: next(errors))
    dropped = pruned(path, "dropped.onnx")
    assert dropped.plan.kept == plain.plan.kept
    assert "the repair was dropped: its error 0.2 was not below that of slicing alone, 0.1" in dropped.warnings
    assert_equal(path.with_name("plain.onnx"), path.with_name("dropped.onnx"))


def test_removing_is_compared_with_zeroing_in_a_file(path, monkeypatch) -> None:
    monkeypatch.setattr(graph_model, "MAPPED", 0)
    analysis = analyse_model(load(path), {})
    selection = Selection(analysis.grouping)
    for index, group in enumerate(analysis.grouping.groups):
        selection.keep(index, np.arange(group.channels) % 3 > 0)
    work, feeds = analysis.cut(selection), synthetic(analysis.graph, analysis.input_shapes)
    assert zeroing_differs(analysis.graph, work, feeds) is None
    tensor = next(t for t in work.model.graph.initializer if t.name == "w2")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.5), "w2"))
    assert "differs by" in (zeroing_differs(analysis.graph, work, feeds) or "")
    assert [p.name for p in path.parent.iterdir() if p.is_dir()] == []


@pytest.mark.parametrize(
    ("options", "who", "advice"),
    [
        ({"tune": 5}, "training", "use the framework that the original was trained in"),
        ({"method": "taylor"}, "method taylor", "use method obspa or l2"),
    ],
)
def test_what_needs_all_of_it_in_memory_says_so(path, monkeypatch, options, who, advice) -> None:
    monkeypatch.setattr(graph_model, "INLINE_LIMIT", 5000)
    with pytest.raises(spa_cli.SpaError) as error:
        pruned(path, "small.onnx", **options)
    left, right = str(error.value).split(" GB of weights are more than onnxruntime takes from there (2 GB); ")
    assert left.startswith(f"{who} holds the model in memory, and ")
    assert right == advice
    assert not path.with_name("small.onnx").exists()
