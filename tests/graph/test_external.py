"""Weights in files beside a model: confined, as long as they say, read through links; whatever is asked of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa_cli
from spa_cli.errors import ModelError
from spa_cli.runtime.load import load
from tests.builders import build, inside
from tests.cli.running import refused, spa
from tests.graph.files import dense, save_external


def _outside(model: onnx.ModelProto, said: dict[str, object], name: str = "w1") -> bytes:
    """Take the bytes out of a tensor, which then says this of where they lie."""
    tensor = next(t for t in model.graph.initializer if t.name == name)
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in said.items():
        tensor.external_data.add(key=key, value=str(value))
    return data


def _runs(path: Path) -> bool:
    try:
        ort.InferenceSession(str(path)).run(None, {"x": np.ones((2, 8), np.float32)})
    except Exception:  # noqa: BLE001 - onnxruntime's kinds are its own
        return False
    return True


# -- a cache of links -------------------------------------------------------------------------------------------------


def _cache(root: Path, model: bool = True, data: bool = True, folder: str = "") -> Path:
    """As Hugging Face keeps what it downloads: links into ``blobs``, or one of the two files itself."""
    revision, blobs = root / "models--maker--net" / "snapshots" / "4c2b" / folder, root / "models--maker--net" / "blobs"
    revision.mkdir(parents=True)
    blobs.mkdir()
    save_external(dense(), revision / "model.onnx", "model.onnx_data")
    for name, blob, link in (("model.onnx", "5f1a", model), ("model.onnx_data", "90ee", data)):
        if link:
            (revision / name).rename(blobs / blob)
            (revision / name).symlink_to(os.path.relpath(blobs / blob, revision))
    return revision / "model.onnx"


LAYOUTS = {
    "both are links": {},
    "only the model is": {"data": False},
    "only the data is": {"model": False},
    "in a folder of the snapshot": {"folder": "onnx"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cache_of_links_is_read_like_plain_files(layout, tmp_path) -> None:
    plain = save_external(dense(), tmp_path / "plain.onnx")
    cached = _cache(tmp_path, **LAYOUTS[layout])
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    results = {}
    for name, path in (("plain", plain), ("cached", cached)):
        for method in ("l1", "obspa"):
            out = tmp_path / f"{name}-{method}" / "small.onnx"
            out.parent.mkdir()
            ran = spa("prune", path, "-o", out, "--ratio", 0.5, "--method", method, "--plan-out", f"{out}.json")
            assert ran.code == 0, ran
            assert not (out.parent / "small.onnx.data").is_symlink()
            results[name, method] = onnx.load(out)
        again = tmp_path / f"{name}-again.onnx"
        assert spa("apply", f"{out}.json", path, "-o", again).code == 0
        ran = spa("verify", path, out, "--plan", f"{out}.json")
        assert ran.code == 0, ran
        assert spa("inspect", path, "--json").code == 0
    for method in ("l1", "obspa"):
        stored = [{t.name: t.raw_data for t in results[n, method].graph.initializer} for n in ("plain", "cached")]
        assert stored[0] == stored[1]
    assert before == {f: f.read_bytes() for f in before}, "what is cached stays as it was"


def test_the_result_of_a_cached_model_may_not_replace_it(tmp_path) -> None:
    cached = _cache(tmp_path)
    blob = cached.resolve().with_name("90ee")
    said = refused(2, "prune", cached, "-o", cached, "--ratio", 0.5, "--force")
    assert said.endswith("is the input; choose another name")
    (tmp_path / "small.onnx.data").symlink_to(blob)
    said = refused(2, "prune", cached, "-o", tmp_path / "small.onnx", "--ratio", 0.5, "--force")
    assert said.endswith("is the input; choose another name")


@pytest.mark.parametrize("model", [True, False], ids=["both are links", "only the data is"])
def test_links_that_leave_folder_and_cache_are_refused(model, tmp_path) -> None:
    cached = _cache(tmp_path, model=model, data=False)
    data = cached.with_name("model.onnx_data")
    data.rename(tmp_path / "elsewhere")
    data.symlink_to(tmp_path / "elsewhere")
    assert not _runs(cached)
    assert refused(3, "inspect", cached) == (
        "the external data file 'model.onnx_data' of tensor 'w1' is a link that leads outside the model's folder, "
        "where nothing is read; put the file itself there"
    )


def test_links_within_the_folder_and_second_names_are_read(tmp_path) -> None:
    """onnx's own reader refuses both, onnxruntime neither."""
    path = save_external(dense(), tmp_path / "m.onnx")
    (tmp_path / "real").mkdir()
    (tmp_path / "weights.bin").rename(tmp_path / "real" / "w")
    for name in ("symbolic", "hard"):
        (tmp_path / "weights.bin").unlink(missing_ok=True)
        if name == "symbolic":
            (tmp_path / "weights.bin").symlink_to("real/w")
        else:
            os.link(tmp_path / "real" / "w", tmp_path / "weights.bin")
        assert _runs(path)
        small = spa_cli.prune(path, tmp_path / f"{name}.onnx", ratio=0.5, method="l1")
        assert small.after.params < small.before.params
        assert _runs(tmp_path / f"{name}.onnx")


def test_a_link_to_a_model_whose_data_is_not_beside_the_link(tmp_path) -> None:
    (tmp_path / "real").mkdir()
    path = save_external(dense(), tmp_path / "real" / "m.onnx")
    (tmp_path / "link.onnx").symlink_to(path)
    assert not _runs(tmp_path / "link.onnx")
    assert refused(3, "inspect", tmp_path / "link.onnx") == (
        f"the external data file 'weights.bin' of tensor 'w1' is not beside the link '{tmp_path / 'link.onnx'}'; give "
        f"the file that it leads to, '{path}'"
    )


# -- what is said of the data -----------------------------------------------------------------------------------------

SIZE = 4 * 8 * 32
WRONG = {
    "no file": ({"offset": 0}, "is said to lie in an external file, and none is named; export"),
    "empty name": ({"location": ""}, "is said to lie in an external file, and none is named; export"),
    "name with an end in it": ({"location": "w.bin\0.txt"}, "and none is named; export"),
    "above": ({"location": "../w.bin"}, "points outside the model's folder ('../w.bin')"),
    "above in the middle": ({"location": "sub/../../w.bin"}, "points outside the model's folder"),
    "absolute": ({"location": "/etc/hostname"}, "points outside the model's folder"),
    "absolute in Windows": ({"location": "C:\\w.bin"}, "points outside the model's folder"),
    "missing": ({"location": "none.bin"}, "'none.bin' of tensor 'w1' is missing; put it in"),
    "name too long": ({"location": "w" * 300}, "can't be read: File name too long; check"),
    "offset behind the end": ({"location": "w.bin", "offset": 4096}, "too short for tensor 'w1': it has 1024 bytes"),
    "offset too large": ({"location": "w.bin", "offset": 2**70}, "too short for tensor 'w1'"),
    "negative offset": (
        {"location": "w.bin", "offset": -4},
        "has offset '-4' in its external file, which is no number",
    ),
    "negative length": ({"location": "w.bin", "length": -4}, "has length '-4' in its external file"),
    "offset of letters": ({"location": "w.bin", "offset": "abc"}, "has offset 'abc' in its external file"),
    "broken offset": ({"location": "w.bin", "offset": "1.5"}, "has offset '1.5' in its external file"),
    "length with a sign": ({"location": "w.bin", "length": "+1024"}, "has length '+1024' in its external file"),
    "too long": (
        {"location": "w.bin", "length": SIZE + 4},
        "takes 1024 bytes, and is said to be 1028 bytes of 'w.bin'",
    ),
    "too short": ({"location": "w.bin", "length": SIZE - 4}, "takes 1024 bytes, and is said to be 1020 bytes"),
    "the model itself": ({"location": "m.onnx"}, "'m.onnx' is too short for tensor 'w1'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case, tmp_path) -> None:
    said, text = WRONG[case]
    model = dense()
    (tmp_path / "w.bin").write_bytes(_outside(model, said))
    onnx.save(model, tmp_path / "m.onnx")
    assert not _runs(tmp_path / "m.onnx") or case == "name with an end in it"
    with pytest.raises(ModelError, match=re.escape(text)):
        load(tmp_path / "m.onnx")


def test_a_shape_of_terabytes(tmp_path) -> None:
    model = dense()
    data = _outside(model, {"location": "w.bin"})
    (tmp_path / "w.bin").write_bytes(data)
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="too short for tensor 'w1': it has 1024 bytes, and 4835703278458516698824704"):
        load(tmp_path / "m.onnx")


def test_text_in_an_external_file_is_refused(tmp_path) -> None:
    model = dense()
    model.graph.initializer.append(helper.make_tensor("words", TensorProto.STRING, [1], [b"a"]))
    model.graph.initializer[-1].data_location = TensorProto.EXTERNAL
    model.graph.initializer[-1].external_data.add(key="location", value="w.bin")
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="'words' is text in an external file, which can't be read; keep it in"):
        load(tmp_path / "m.onnx")


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (Path.mkdir, "of tensor 'w1' is a folder; put the file there that was"),
    "a named pipe": (os.mkfifo, "of tensor 'w1' is a named pipe; put"),
    "a device": (lambda place: place.symlink_to("/dev/zero"), "is a link that leads outside the model's folder"),
    "a circle of links": (
        lambda place: place.symlink_to(place.name),
        "is a link that leads nowhere; put the file there",
    ),
    "a link to nothing": (lambda place: place.symlink_to("nothing"), "of tensor 'w1' is missing; put it in"),
}


@pytest.mark.parametrize("case", NO_FILES)
def test_what_is_no_file_is_never_opened(case, tmp_path) -> None:
    make, text = NO_FILES[case]
    model = dense()
    _outside(model, {"location": "w.bin"})
    make(tmp_path / "w.bin")
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=text):
        load(tmp_path / "m.onnx")


def test_data_that_is_gone_or_swapped_when_it_is_read(tmp_path) -> None:
    """What was looked at is not trusted to be still there: no pipe that takes its place is waited for."""
    path = save_external(dense(), tmp_path / "m.onnx")
    graph = load(path).graph
    (tmp_path / "weights.bin").rename(tmp_path / "w")
    for make, why in (
        (lambda _: None, "No such file or directory"),
        (os.mkfifo, "'weights.bin' is no file"),
        (lambda place: place.symlink_to("w"), "Too many levels of symbolic links"),
    ):
        make(tmp_path / "weights.bin")
        with pytest.raises(ModelError, match=f"'weights.bin' of tensor 'w1' can't be read: {why}; check the file"):
            graph.array("w1")
        (tmp_path / "weights.bin").unlink(missing_ok=True)


def test_data_that_may_not_be_read(tmp_path, monkeypatch) -> None:
    path = save_external(dense(), tmp_path / "m.onnx")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ModelError, match="can't be read: Permission denied; check the file and its permissions"):
        load(path)


def test_data_larger_than_memory(tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    graph = load(save_external(dense(), tmp_path / "m.onnx")).graph
    monkeypatch.setattr("spa_cli.graph.external.opened", full)
    with pytest.raises(ModelError, match="'w1' takes 1024 bytes, which do not fit into memory; use a machine"):
        graph.array("w1")


# -- what is as right as what others write ----------------------------------------------------------------------------


def test_a_length_need_not_be_said(tmp_path) -> None:
    """Of a file that goes on behind the tensor too, which onnx's own reader does not take."""
    model = dense()
    values = numpy_helper.to_array(model.graph.initializer[0])
    (tmp_path / "w.bin").write_bytes(b"....." + _outside(model, {"location": "w.bin", "offset": 5}) + b"more")
    onnx.save(model, tmp_path / "m.onnx")
    assert _runs(tmp_path / "m.onnx")
    assert np.array_equal(load(tmp_path / "m.onnx").graph.array("w1"), values)
    assert spa_cli.prune(tmp_path / "m.onnx", tmp_path / "s.onnx", ratio=0.5, method="l1").after.params


def test_regions_may_overlap(tmp_path) -> None:
    """They are only read, and in the result each tensor has its own."""
    model = dense()
    data = _outside(model, {"location": "w.bin", "offset": 0, "length": SIZE})
    _outside(model, {"location": "w.bin", "offset": 64, "length": 512}, "w2")
    (tmp_path / "w.bin").write_bytes(data)
    onnx.save(model, tmp_path / "m.onnx")
    assert _runs(tmp_path / "m.onnx")
    source = load(tmp_path / "m.onnx")
    assert source.graph.array("w2").tobytes() == data[64 : 64 + 512]
    spa_cli.prune(tmp_path / "m.onnx", tmp_path / "s.onnx", ratio=0.5, method="l1")
    assert {t.name: list(t.dims) for t in onnx.load(tmp_path / "s.onnx").graph.initializer}["w2"] == [16, 4]
    assert (tmp_path / "w.bin").read_bytes() == data


@pytest.mark.parametrize("kind", ["INT4", "UINT4", "BFLOAT16", "FLOAT8E4M3FN", "BOOL", "DOUBLE"])
def test_values_of_every_width_are_read(kind, tmp_path) -> None:
    number = TensorProto.DataType.Value(kind)
    values = np.arange(15).astype(helper.tensor_dtype_to_np_dtype(number)).reshape(3, 5)
    model = dense()
    model.graph.initializer.append(numpy_helper.from_array(values, "v"))
    (tmp_path / "w.bin").write_bytes(_outside(model, {"location": "w.bin"}, "v"))
    model.opset_import[0].version, model.ir_version = 21, 10
    onnx.save(model, tmp_path / "m.onnx")
    found = load(tmp_path / "m.onnx").graph.array("v")
    assert found.dtype == values.dtype
    assert found.astype(np.float64).tolist() == values.astype(np.float64).tolist()


def test_tensors_of_bodies_and_functions_are_confined_too(tmp_path) -> None:
    text = """(float[N,16] x, bool c) => (float[N,4] y) {
      y = If (c) <then_branch = g () => (float[N,4] p) { p = MatMul(x, wa) },
                  else_branch = h () => (float[N,4] q) { q = MatMul(x, wc) }>
    }"""
    bodies = inside(build(text, wa=(16, 4), wc=(16, 4)))
    in_body = bodies.graph.node[0].attribute[0].g.initializer[0]
    in_function = dense()
    value = numpy_helper.from_array(np.ones((8, 8), np.float32), "value")
    function = helper.make_function(
        "own",
        "F",
        ["a"],
        ["b"],
        [helper.make_node("Constant", [], ["k"], value=value), helper.make_node("MatMul", ["a", "k"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    in_function.functions.append(function)
    for model, tensor in ((bodies, in_body), (in_function, in_function.functions[0].node[0].attribute[0].t)):
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../w.bin")
        with pytest.raises(ModelError, match="given from memory; give a path"):
            load(model)
        onnx.save(model, tmp_path / "m.onnx")
        with pytest.raises(ModelError, match="points outside the model's folder"):
            load(tmp_path / "m.onnx")
