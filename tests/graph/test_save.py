"""Writing files: what is kept, what is refused, what is left behind."""

from __future__ import annotations

import json
import os

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

import spa_cli
from spa_cli.atomic import write_text
from spa_cli.errors import SpaError, UsageError, VerificationError
from spa_cli.graph.save import check_writable
from spa_cli.options import Options
from spa_cli.runtime.load import load
from spa_cli.runtime.timing import Timing
from spa_cli.verification import compare
from spa_cli.verification.drift import Drift
from tests.builders import build, inside
from tests.graph.files import dense, save_external
from tests.samples import SAMPLES, model_path


def _props(model: onnx.ModelProto) -> dict[str, str]:
    return {p.key: p.value for p in model.metadata_props}


# -- what a cut keeps -------------------------------------------------------------------------------------------------


def test_everything_beside_the_weights_stays() -> None:
    model = dense()
    before = model.SerializeToString()
    small = spa_cli.prune(model, ratio=0.5, method="l1").model
    assert model.SerializeToString() == before, "the model that was given is not touched"
    for name in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        assert getattr(small, name) == getattr(model, name)
    assert small.opset_import == model.opset_import
    assert (small.graph.name, small.graph.doc_string) == ("graph", "a graph")
    assert [(n.name, n.doc_string) for n in small.graph.node] == [(n.name, n.doc_string) for n in model.graph.node]
    assert [t.name for t in small.graph.initializer] == [t.name for t in model.graph.initializer]
    assert small.graph.initializer[0].doc_string == "the first weight"
    assert (small.graph.input, small.graph.output) == (model.graph.input, model.graph.output)


def test_a_metadata_entry_is_added_and_earlier_ones_stay() -> None:
    once = spa_cli.prune(dense(), ratio=0.25, method="l2").model
    props = _props(once)
    assert {"license": "free", "classes": "4"}.items() <= props.items()
    note = json.loads(props["spa"])
    assert note["version"] == spa_cli.__version__
    assert (note["method"], note["channels"], note["removed_channels"]) == ("l2", 32, 8)
    twice = _props(spa_cli.prune(once, ratio=0.25, method="l1").model)
    assert twice["spa"] == props["spa"]
    assert json.loads(twice["spa.2"])["channels"] == 24


def test_declared_shapes_follow() -> None:
    small = spa_cli.prune(dense(), ratio=0.5, method="l1").model
    for info in small.graph.value_info:
        batch, width = info.type.tensor_type.shape.dim
        assert (batch.dim_param, width.dim_value) == ("n", 16)
    onnx.checker.check_model(small, full_check=True)


@pytest.mark.parametrize("name", SAMPLES)
def test_declared_shapes_agree_with_inference(name) -> None:
    small = spa_cli.prune(model_path(name), ratio=0.3, method="l1").model
    declared = {v.name: v.type for v in small.graph.value_info}
    del small.graph.value_info[:]
    inferred = {v.name: v.type for v in onnx.shape_inference.infer_shapes(small, data_prop=True).graph.value_info}
    for tensor in declared.keys() & inferred.keys():
        if not all(t[tensor].tensor_type.HasField("shape") for t in (declared, inferred)):
            continue
        dims = [t[tensor].tensor_type.shape.dim for t in (declared, inferred)]
        for a, b in zip(*dims, strict=True):
            assert not (a.HasField("dim_value") and b.HasField("dim_value")) or a.dim_value == b.dim_value, tensor


# -- files ------------------------------------------------------------------------------------------------------------


def test_external_data_in_external_data_out(tmp_path) -> None:
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    out.mkdir()
    path = save_external(dense(256), given / "m.onnx")
    before = {p.name: p.read_bytes() for p in given.iterdir()}
    result = spa_cli.prune(path, out / "small.onnx", ratio=0.5, method="l1")
    assert {p.name: p.read_bytes() for p in given.iterdir()} == before
    assert sorted(p.name for p in out.iterdir()) == ["small.onnx", "small.onnx.data"]
    raw = onnx.load(out / "small.onnx", load_external_data=False)
    assert any(t.data_location == TensorProto.EXTERNAL for t in raw.graph.initializer)
    assert result.after.bytes == sum(p.stat().st_size for p in out.iterdir()) < result.before.bytes
    inside = spa_cli.prune(dense(256), ratio=0.5, method="l1").model
    loaded = onnx.load(out / "small.onnx")
    assert [numpy_helper.to_array(t).tolist() for t in loaded.graph.initializer] == [
        numpy_helper.to_array(t).tolist() for t in inside.graph.initializer
    ]


@pytest.mark.parametrize("method", ["l1", "obspa"])
def test_external_data_under_the_same_name_elsewhere(tmp_path, method) -> None:
    """What stays as it is refers to a file of the same name until it is copied."""
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    out.mkdir()
    model = build(
        "(float[N,300] x) => (y) { a = Gemm(x, wa)  b = Gemm(a, wb)  y = Gemm(b, wy) }",
        wa=(300, 8),
        wb=(8, 300),
        wy=(300, 2),
    )
    path = save_external(model, given / "m.onnx", "m.onnx.data")
    spa_cli.prune(path, out / "m.onnx", ratio=0.01, method=method, only=["wb"])
    loaded = onnx.load(out / "m.onnx")
    kept = {t.name: numpy_helper.to_array(t) for t in loaded.graph.initializer}
    assert kept["wb"].shape[1] < 300
    assert np.array_equal(kept["wa"], numpy_helper.to_array(model.graph.initializer[0]))
    assert onnxruntime.InferenceSession(str(out / "m.onnx")).run(None, {"x": np.ones((1, 300), np.float32)})


@pytest.mark.parametrize("method", ["l1", "obspa"])
def test_external_data_inside_bodies_and_of_no_length(tmp_path, method) -> None:
    model = inside(
        build(
            """(float[N,5] x, bool flag) => (float[N,4] y) {
              a = MatMul(x, wa)
              c = If (flag) <
                then_branch = then () => (float[N,300] t) { t = MatMul(a, wt) },
                else_branch = other () => (float[N,300] e) { e = MatMul(a, we) }
              >
              d = Concat<axis=1>(c, nothing)
              y = MatMul(c, wy)
            }""",
            wa=(5, 8),
            wt=(8, 300),
            we=(8, 300),
            wy=(300, 4),
            nothing=np.zeros((1, 0), np.float32),
        )
    )
    del model.graph.node[2]
    path = save_external(model, tmp_path / "m.onnx")
    result = spa_cli.prune(path, tmp_path / "small.onnx", ratio=0.01, method=method, only=["wa"])
    assert not any("left whole" in w for w in result.warnings)
    loaded = onnx.load(tmp_path / "small.onnx")
    assert {t.name: list(t.dims) for t in loaded.graph.initializer}["nothing"] == [1, 0]
    assert all(numpy_helper.to_array(t).shape == tuple(t.dims) for t in loaded.graph.initializer)


def test_result_of_external_data_is_usable_from_python(tmp_path) -> None:
    path = save_external(dense(256), tmp_path / "m.onnx")
    small = spa_cli.prune(path, ratio=0.5, method="l1").model
    assert numpy_helper.to_array(small.graph.initializer[0]).shape == (8, 128)


def test_data_files_of_others_are_not_overwritten(tmp_path) -> None:
    path = save_external(dense(256), tmp_path / "big.onnx", "small.onnx.data")
    before = (tmp_path / "small.onnx.data").read_bytes()
    with pytest.raises(UsageError):
        spa_cli.prune(path, tmp_path / "small.onnx", ratio=0.5, method="l1")
    assert (tmp_path / "small.onnx.data").read_bytes() == before


def test_the_name_of_the_output_does_not_decide_its_format(tmp_path) -> None:
    spa_cli.prune(dense(), tmp_path / "small.json", ratio=0.5, method="l1")
    assert onnx.load(tmp_path / "small.json", format="protobuf").graph.node


def test_a_failed_verification_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise VerificationError("a simulated failure")

    monkeypatch.setattr("spa_cli.trial.trials.verify_file", fail)
    out = tmp_path / "small.onnx"
    with pytest.raises(SpaError):
        spa_cli.prune(dense(), out, ratio=0.5, method="l1", plan_out=tmp_path / "plan.json")
    assert list(tmp_path.iterdir()) == []
    out.write_bytes(b"old")
    with pytest.raises(SpaError):
        spa_cli.prune(dense(), out, ratio=0.5, method="l1", force=True)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("small.onnx", b"old")]


def test_an_interrupted_verification_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spa_cli.trial.trials.verify_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        spa_cli.prune(dense(), tmp_path / "small.onnx", ratio=0.5, method="l1")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save", full)
    with pytest.raises((SpaError, OSError)):
        spa_cli.prune(dense(), tmp_path / "small.onnx", ratio=0.5, method="l1")
    assert list(tmp_path.iterdir()) == []


def test_write_text_replaces_at_once(tmp_path, monkeypatch) -> None:
    file = tmp_path / "plan.json"
    write_text(file, "one")
    write_text(file, "two")
    assert file.read_text() == "two"
    assert file.stat().st_mode & 0o777 == 0o644

    def fail(*_: object, **__: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UsageError, match=r"the file '.*' can't be written: no; name another"):
        write_text(file, "three")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("plan.json", "two")]


def test_check_writable(tmp_path) -> None:
    source = load(dense())
    check_writable(tmp_path / "new", source, False)
    (tmp_path / "old").write_text("")
    check_writable(tmp_path / "old", source, True)
    for target, force, says in (("old", False, "--force"), (".", True, "folder"), ("no/new", True, "does not exist")):
        with pytest.raises(UsageError, match=says):
            check_writable(tmp_path / target, source, force)


def test_weights_that_nothing_reads_are_no_channels() -> None:
    model = dense()
    model.graph.initializer.append(numpy_helper.from_array(np.ones((5, 6), np.float32), "unused"))
    grouping = spa_cli.inspect(model).grouping
    assert [g.name for g in grouping.groups] == ["w1"]
    reasons = {(f.tensor, f.axis): f.reason.text for f in grouping.frozen}
    assert reasons["unused", 0] == reasons["unused", 1] == "is not used by any operator"


def test_python_verbs_take_models_from_memory() -> None:
    small = spa_cli.prune(dense(), ratio=0.5, method="l1")
    assert small.out is None
    again = spa_cli.apply(small.plan, dense())
    assert again.model.graph.initializer == small.model.graph.initializer
    assert [g.channels for g in spa_cli.inspect(small.model).grouping.groups] == [16]


def test_verify_is_a_verb_like_the_others() -> None:
    spa_cli.prune(dense(), ratio=0.5, method="l1")
    assert callable(spa_cli.verify)


def test_verify_takes_models_from_memory(monkeypatch) -> None:
    monkeypatch.setattr(compare, "latency", lambda *_: Timing(1.0, 1.0, 1.0, 1.0))
    small = spa_cli.prune(dense(), ratio=0.5, method="l1").model
    report = compare.compare(dense(), small, None, Options())
    assert report.params[1] < report.params[0]
    assert isinstance(report.drift, Drift)


def test_obspa_on_external_data(tmp_path) -> None:
    path = save_external(dense(256), tmp_path / "m.onnx")
    assert spa_cli.prune(path, ratio=0.5, method="obspa").after.params < 8 * 256
