"""Files that are no ONNX model: what they are, by what is in them, and how to get one."""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

# what the first byte of a ModelProto may be: that of the number of any field, which holds an integer or what is longer
_TAGS = frozenset(
    bytes([field.number << 3 & 127 | kind | (128 if field.number > 15 else 0)])
    for field in onnx.ModelProto.DESCRIPTOR.fields
    for kind in (0, 2)
)
_HEAD = 1 << 16
_PAGE = "a web page, as servers send for an error or a login", "download the file itself"
_TENSORFLOW = "convert it with 'python -m tf2onnx.convert'"
_TORCH = "export the model with torch.onnx.export"
_UNPACK = "give the .onnx file that is in it, unpacked"
_SOURCE = "give the .onnx file that it was made from"

# by first bytes: what it is, what to do
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file that it stands for", "get that by 'git lfs pull'"),
    (b"/annex/objects/", "a pointer of git-annex, not the file that it stands for", "get that by 'git annex get'"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it with 'gunzip'"),
    (b"BZh", "compressed with bzip2", "unpack it with 'bunzip2'"),
    (b"\xfd7zXZ\0", "compressed with xz", "unpack it with 'unxz'"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it with 'unzstd'"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras saves", _TENSORFLOW),
    (b"\x93NUMPY", "an array of NumPy", "give the model first, and samples by --calib"),
    (b"GGUF", "a model in GGUF, as llama.cpp takes", "export the model that it was made from"),
    (b"ftrt", "an engine of TensorRT", _SOURCE),
    (b"ptrt", "an engine of TensorRT", _SOURCE),
    (b"RKNN", "a model for RKNN", _SOURCE),
    (b"7767517", "a network of ncnn", _SOURCE),
    (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9", "a checkpoint of PyTorch", _TORCH),
)
# of these a model could begin otherwise, so they come after the rest has failed: at the fifth byte
_INSIDE = {
    b"TFL3": ("a model of TensorFlow Lite", f"{_TENSORFLOW} --tflite"),
    b"ORTM": ("a model in the ORT format of onnxruntime", _SOURCE),
}


def begins_like_onnx(path: Path) -> bool:
    """Whether reading the whole of a file as an ONNX model makes sense; raises OSError."""
    with path.open("rb") as file:
        return file.read(1) in _TAGS


def recognised(path: Path) -> tuple[str, str] | None:
    """What a file or folder that is no ONNX model is instead, and what to do; ``None`` if nobody knows."""
    if not (path.is_file() or path.is_dir()):
        return None
    try:
        if path.is_dir():
            return _folder(path)
        with path.open("rb") as file:
            head = file.read(_HEAD)
        return _by_magic(head) or _archive(path, head) or _text(path, head) or _structured(head, path.stat().st_size)
    except OSError:
        return None


def _folder(path: Path) -> tuple[str, str] | None:
    if (path / "saved_model.pb").is_file():
        return "a SavedModel of TensorFlow", f"{_TENSORFLOW} --saved-model"
    if (path / "Manifest.json").is_file() and (path / "Data").is_dir():
        return "a package of Core ML", _SOURCE
    if (path / "config.json").is_file() and any([*path.glob("*.safetensors"), *path.glob("pytorch_model*.bin")]):
        return "a model of Hugging Face without an export", "export it with 'optimum-cli export onnx'"
    return None


def _by_magic(head: bytes) -> tuple[str, str] | None:
    return next(((what, to_do) for magic, what, to_do in _MAGIC if head.startswith(magic)), None)


def _archive(path: Path, head: bytes) -> tuple[str, str] | None:
    if head.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                return _zipped(archive.namelist())
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            return "a zip archive that is cut short", "download it again"
    if head[257:262] == b"ustar" and tarfile.is_tarfile(path):
        return "a tar archive", _UNPACK
    return None


def _zipped(names: list[str]) -> tuple[str, str]:
    inside = [n for n in names if n.lower().endswith(".onnx")]
    ends = {n.rpartition("/")[2] for n in names}
    if inside:
        return f"a zip archive with '{inside[0]}' in it", "give that, unpacked"
    if "constants.pkl" in ends and any("/code/" in n for n in names):
        return "a module of TorchScript", _TORCH
    if ends & {"serialized_exported_program.json", "archive_format"}:
        return "a program of torch.export", _TORCH
    if "data.pkl" in ends:
        return "a checkpoint of PyTorch", _TORCH
    if "model.weights.h5" in ends:
        return "a model of Keras", "export it with its own model.export(format='onnx')"
    if names and all(n.endswith(".npy") for n in names):
        return "an archive of NumPy arrays", "give the model first, and samples by --calib"
    return "a zip archive", _UNPACK


def _text(path: Path, head: bytes) -> tuple[str, str] | None:
    """What begins with letters."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:4096]
    lower = start.lower()
    if re.match(rb"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype\s+html|html)", lower, re.DOTALL):
        return _PAGE
    if re.match(rb"(<\?xml[^>]*>\s*)?<net\s", lower):
        return "a network of OpenVINO", _SOURCE
    if lower.startswith(b"<?xml"):
        return "an XML document, as servers send for an error", "download the file itself"
    if start.startswith(b"<") and b"ir_version" in start:
        return "an ONNX model as text", "convert it with onnx.parser and onnx.save"
    if re.match(rb"\[net(work)?\]", lower):
        return "a network of Darknet", "export its model with what trained it"
    if start[:1] in (b"{", b"["):
        return _json(path)
    if re.match(rb"(name\s*:|layers?\s*\{|input\s*:)", lower):
        return "a network of Caffe or a graph as text", "convert it to ONNX first"
    return None


def _json(path: Path) -> tuple[str, str] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError, MemoryError):
        return None
    keys = found.keys() if isinstance(found, dict) else set()
    if "modelTopology" in keys:
        return "a model of TensorFlow.js", f"{_TENSORFLOW} --tfjs"
    if {"graph", "opsetImport"} <= keys:
        return "an ONNX model as JSON", "convert it with google.protobuf.json_format and onnx.save"
    if {"nodes", "arg_nodes"} <= keys:
        return "a network of MXNet", "export it with mxnet.onnx"
    if "kept" in keys:
        return "a plan", "give the model as well, as in 'spa apply PLAN MODEL'"
    return "JSON, as servers send for an error", "download the file itself"


def _structured(head: bytes, size: int) -> tuple[str, str] | None:
    """What is told by what lies where."""
    if head[4:8] in _INSIDE:
        return _INSIDE[head[4:8]]
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= length <= size - 8:
        return "weights in safetensors, with no network", _TORCH
    # a message within a message: a node with a name and an operator, a version before a graph with tags
    if re.match(rb"\x0a[\x01-\xff][\x01-\x7f]?\x0a([\x01-\x7f])[\x20-\x7e]+\x12[\x01-\x7f][A-Z_]\w+", head, re.DOTALL):
        return "a frozen graph of TensorFlow", f"{_TENSORFLOW} --graphdef"
    if head.startswith(b"\x08\x01\x12") and re.search(rb"\x22.serve|tensorflow|NoOp|Placeholder", head, re.DOTALL):
        return "a SavedModel of TensorFlow", f"{_TENSORFLOW} --saved-model with the folder it is in"
    if re.match(rb"\x80[\x02-\x05]", head):
        return "a pickle of Python, as old PyTorch saves", _TORCH
    return _tensor(head)


def _tensor(head: bytes) -> tuple[str, str] | None:
    try:
        tensor = onnx.TensorProto.FromString(head)
    except DecodeError:
        return None
    if tensor.data_type and (tensor.raw_data or tensor.float_data or tensor.int64_data):
        return "a tensor of ONNX, as test data sets hold", "give the model itself"
    return None
