"""Files that are no ONNX model are told by what is in them, whatever they are called."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from safetensors.numpy import save as safetensors

from spa_cli.errors import ModelError
from spa_cli.runtime.load import load
from tests.cli.running import refused
from tests.graph.files import dense
from tests.samples import SAMPLES, model_path


def _zip(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 100)
    return made.getvalue()


def _tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.onnx"))
    return made.getvalue()


def _npz() -> bytes:
    made = io.BytesIO()
    np.savez(made, x=np.ones(3))
    return made.getvalue()


def _npy() -> bytes:
    made = io.BytesIO()
    np.save(made, np.ones(3))
    return made.getvalue()


def _field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message that holds bytes."""
    size, length = len(content), b""
    while size > 127:
        size, length = size >> 7, length + bytes([size & 127 | 128])
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


# name, operator, inputs, as in a GraphDef
NODES = [_field(1, b"input") + _field(2, b"Placeholder"), _field(1, b"layer/w" * 9) + _field(2, b"Const")]
GRAPH = b"".join(_field(1, node) for node in NODES)
OPS = b"".join(_field(1, _field(1, name)) for name in (b"AddV2", b"NoOp", b"Placeholder"))
META = _field(1, _field(2, OPS) + _field(4, b"serve") + _field(5, b"2.15.0"))
SAVED_MODEL = b"\x08\x01" + _field(2, META + _field(2, GRAPH))
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
HTML = b"\n <!DOCTYPE html>\n<html lang='en'><head><title>404</title></head></html>"

FILES: dict[str, tuple[bytes, str]] = {
    "Git LFS": (
        LFS,
        "is a pointer of Git LFS, not the file that it stands for, and no ONNX model; get that by 'git lfs",
    ),
    "git-annex": (
        b"/annex/objects/SHA256E-s1--0a.onnx\n",
        "is a pointer of git-annex, not the file that it stands for",
    ),
    "a web page": (
        HTML,
        "is a web page, as servers send for an error or a login, and no ONNX model; download the file",
    ),
    "XHTML": (b'<?xml version="1.0"?>\n<html xmlns="x"></html>', "is a web page, as servers send"),
    "an error of a store": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is an XML document, as"),
    "an answer in JSON": (b'{"error": "Repository not found"}', "is JSON, as servers send for an error, and no ONNX"),
    "gzip": (gzip.compress(b"x" * 99), "is compressed with gzip, and no ONNX model; unpack it with 'gunzip'"),
    "bzip2": (b"BZh91AY&SY", "is compressed with bzip2, and no ONNX model; unpack it with 'bunzip2'"),
    "xz": (b"\xfd7zXZ\0\0\4", "is compressed with xz, and no ONNX model; unpack it with 'unxz'"),
    "zstd": (b"\x28\xb5\x2f\xfd\0\0", "is compressed with zstd, and no ONNX model; unpack it with 'unzstd'"),
    "7z": (
        b"7z\xbc\xaf\x27\x1c\0\4",
        "is a 7z archive, and no ONNX model; give the .onnx file that is in it, unpacked",
    ),
    "RAR": (b"Rar!\x1a\x07\0", "is a RAR archive"),
    "zip": (_zip("a/readme.txt"), "is a zip archive, and no ONNX model; give the .onnx file that is in it, unpacked"),
    "zip of a model": (
        _zip("a/net.onnx"),
        "is a zip archive with 'a/net.onnx' in it, and no ONNX model; give that, unp",
    ),
    "zip cut short": (
        _zip("a/net.onnx")[:60],
        "is a zip archive that is cut short, and no ONNX model; download it again",
    ),
    "tar": (_tar(), "is a tar archive, and no ONNX model; give the .onnx file that is in it, unpacked"),
    "TorchScript": (
        _zip("net/data.pkl", "net/code/__torch__.py", "net/constants.pkl", "net/version"),
        "is a module of TorchScript, and no ONNX model; export the model with torch.onnx.export",
    ),
    "PyTorch": (
        _zip("net/data.pkl", "net/data/0", "net/version"),
        "is a checkpoint of PyTorch, and no ONNX model; exp",
    ),
    "torch.export": (_zip("archive_format", "models/model.json"), "is a program of torch.export, and no ONNX model"),
    "old PyTorch": (pickle.dumps(119547037146038801333356, 2), "is a checkpoint of PyTorch"),
    "a pickle": (pickle.dumps({"weight": [1.0]}), "is a pickle of Python, as old PyTorch saves"),
    "safetensors": (
        safetensors({"w": np.ones(3)}),
        "is weights in safetensors, with no network, and no ONNX model; ex",
    ),
    "Keras, HDF5": (
        b"\x89HDF\r\n\x1a\n\0\0",
        "is an HDF5 file, as Keras saves, and no ONNX model; convert it with 'py",
    ),
    "Keras": (
        _zip("metadata.json", "config.json", "model.weights.h5"),
        "is a model of Keras, and no ONNX model; export",
    ),
    "TensorFlow Lite": (
        b"\x1c\0\0\0TFL3\x14\0 \0",
        "is a model of TensorFlow Lite, and no ONNX model; convert it with",
    ),
    "frozen graph": (
        GRAPH,
        "is a frozen graph of TensorFlow, and no ONNX model; convert it with 'python -m tf2onnx.con",
    ),
    "SavedModel": (SAVED_MODEL, "is a SavedModel of TensorFlow, and no ONNX model; convert it with"),
    "TensorFlow.js": (b'{"format": "graph-model", "modelTopology": {}}', "is a model of TensorFlow.js"),
    "OpenVINO": (b'<?xml version="1.0"?>\n<net name="n" version="11"></net>', "is a network of OpenVINO, and no ONNX"),
    "TensorRT": (
        b"ftrt\0\0\0\0",
        "is an engine of TensorRT, and no ONNX model; give the .onnx file that it was made from",
    ),
    "old TensorRT": (b"ptrt\0\0\0\0", "is an engine of TensorRT"),
    "RKNN": (b"RKNN\0\0\0\0", "is a model for RKNN"),
    "GGUF": (
        b"GGUF\3\0\0\0",
        "is a model in GGUF, as llama.cpp takes, and no ONNX model; export the model that it was",
    ),
    "ncnn": (b"7767517\n75 83\n", "is a network of ncnn"),
    "Darknet": (b"[net]\nbatch=1\n", "is a network of Darknet, and no ONNX model; export its model with what trained"),
    "Caffe": (
        b'name: "net"\nlayer { }\n',
        "is a network of Caffe or a graph as text, and no ONNX model; convert it to",
    ),
    "MXNet": (json.dumps({"nodes": [], "arg_nodes": []}).encode(), "is a network of MXNet, and no ONNX model; export"),
    "ONNX as JSON": (
        b'{"irVersion": "8", "graph": {}, "opsetImport": []}',
        "is an ONNX model as JSON, and no ONNX model",
    ),
    "ONNX as text": (b"<ir_version: 8>\nagraph (float x) => (y) {}", "is an ONNX model as text"),
    "a plan": (b'{"schema": "spa.plan/1", "kept": {}}', "is a plan, and no ONNX model; give the model as well, as in"),
    "NumPy": (_npy(), "is an array of NumPy, and no ONNX model; give the model first, and samples by --calib"),
    "NumPy arrays": (_npz(), "is an archive of NumPy arrays"),
    "a tensor": (
        numpy_helper.from_array(np.ones(3), "input_0").SerializeToString(),
        "is a tensor of ONNX, as test data",
    ),
    "letters": (b"this is a shopping list\n" * 9, "is not an ONNX model, or is cut short; export or download it again"),
    "broken JSON": (b'{"nodes": [', "is not an ONNX model, or is cut short"),
    "noise": (np.random.default_rng(0).bytes(4000), "is not an ONNX model, or is cut short"),
    "cut short": (dense().SerializeToString()[:-300], "is not an ONNX model, or is cut short"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", ["model.onnx", "model"])
def test_what_it_is_and_what_to_do(kind, name, tmp_path) -> None:
    content, text = FILES[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load(tmp_path / name)
    assert str(caught.value).startswith(f"'{tmp_path / name}' {text}")


def test_the_format_of_onnxruntime(tmp_path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "m.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(dense().SerializeToString(), options)
    said = refused(3, "inspect", tmp_path / "m.ort")
    assert said.endswith(
        "is a model in the ORT format of onnxruntime, and no ONNX model; give the .onnx file that it was made from"
    )


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "SavedModel": (lambda d: (d / "saved_model.pb").write_bytes(SAVED_MODEL), "is a SavedModel of TensorFlow, and no"),
    "Core ML": (
        lambda d: ((d / "Manifest.json").write_text("{}"), (d / "Data").mkdir()),
        "is a package of Core ML, and no ONNX model; give the .onnx file that it was made from",
    ),
    "Hugging Face": (
        lambda d: ((d / "config.json").write_text("{}"), (d / "model.safetensors").write_bytes(b"")),
        "is a model of Hugging Face without an export, and no ONNX model; export it with 'optimum-cli export onnx'",
    ),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_folders_of_other_frameworks(kind, tmp_path) -> None:
    make, text = FOLDERS[kind]
    (tmp_path / "net").mkdir()
    make(tmp_path / "net")
    for arguments in (("inspect", tmp_path / "net"), ("prune", tmp_path / "net", "-o", tmp_path / "s", "--ratio", 0.5)):
        assert text in refused(3, *arguments)


def test_a_large_file_of_another_kind_is_not_read(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(onnx, "load", lambda *_args, **_more: pytest.fail("it was read"))
    (tmp_path / "m.onnx").write_bytes(_zip("net/data.pkl"))
    with pytest.raises(ModelError, match="is a checkpoint of PyTorch"):
        load(tmp_path / "m.onnx")


@pytest.mark.parametrize("first", sorted(onnx.ModelProto.DESCRIPTOR.fields_by_name))
def test_a_model_may_begin_with_any_of_its_fields(first, tmp_path) -> None:
    """Protobuf asks for no order."""
    model = dense()
    if first in ("functions", "training_info", "configuration"):
        getattr(model, first).add()
    own = onnx.ModelProto()
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    rest.ClearField(first)
    own.CopyFrom(model)
    for field, _ in own.ListFields():
        if field.name != first:
            own.ClearField(field.name)
    (tmp_path / "m.onnx").write_bytes(own.SerializeToString() + rest.SerializeToString())
    try:
        load(tmp_path / "m.onnx")
    except ModelError as error:
        # an empty function or training is no valid model, but it is one
        assert "not a valid ONNX model" in str(error) or "inlined" in str(error)


@pytest.mark.parametrize("name", SAMPLES)
def test_models_are_models(name) -> None:
    assert load(model_path(name)).graph.nodes
