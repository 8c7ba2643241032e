"""Damage to what lies beside a model: plans, configuration, calibration data, weights."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fuzz.values import anything, damaged, damaged_tree, integer, number, one_of, text

_CONFIG_KEYS = (
    *("ratio", "target_macs", "target_params", "target_size", "method", "aggregation", "normalisation", "ensemble"),
    *("role_weight", "focus", "repair", "rounds", "calib", "calib_samples", "memory", "mean", "std", "layout", "color"),
    *(
        "image_range",
        "tokenizer",
        "max_length",
        "test",
        "provider",
        "seed",
        "ignore",
        "only",
        "exact_budget",
        "round_to",
    ),
    *("device", "min_channels", "max_group_ratio", "blocks", "exact_only", "input_shape", "tidy", "min_agreement"),
    *("max_drift", "quiet", "force", "prune", "inspect", "nonsense"),
)
# what would take minutes, or runs a command
_LEFT_OUT = {"rounds": 10**3}


def plan(rng: Any, file: Path) -> None:
    """A plan with another value somewhere, or other bytes."""
    if rng.random() < 0.2:
        file.write_bytes(damaged(rng, file.read_bytes()))
        return
    tree = json.loads(file.read_text())
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        tree = damaged_tree(rng, tree)
    file.write_text(json.dumps(tree))


def configuration(rng: Any, file: Path) -> None:
    """A spa.toml with any keys and values, or other bytes."""
    lines = ["[prune]"] if rng.random() < 0.5 else []
    for _ in range(int(rng.integers(1, 5))):
        key = one_of(rng, _CONFIG_KEYS)
        value = anything(rng)
        if isinstance(value, int) and key in _LEFT_OUT:
            value = min(value, 1)
        lines.append(f"{key} = {_toml(value)}")
    data = "\n".join(lines).encode()
    file.write_bytes(damaged(rng, data) if rng.random() < 0.2 else data)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps("" if value is None else value).replace("NaN", "nan").replace("Infinity", "inf")


def calibration(rng: Any, folder: Path, model: onnx.ModelProto) -> Path:
    """Samples for a model: of a shape, a type, a number or values that may not fit; in any kind of file."""
    arrays = _samples(rng, model)
    kind = int(rng.integers(8))
    if kind == 0:
        file = folder / "calib.npy"
        np.save(file, next(iter(arrays.values()), np.zeros(3)), allow_pickle=True)
    elif kind == 1:
        file = folder / "calib.txt"
        lines = [text(rng) or "some words" for _ in range(int(rng.integers(4)))]
        file.write_bytes(damaged(rng, "\n".join(lines).encode()) if rng.random() < 0.3 else "\n".join(lines).encode())
    elif kind == 2:
        file = folder / "calib.jsonl"
        file.write_text(
            "\n".join(json.dumps(anything(rng) if rng.random() < 0.5 else {"text": text(rng)}) for _ in "abc")
        )
    elif kind == 3:
        file = folder / "images"
        file.mkdir()
        for at in range(int(rng.integers(3))):
            data = _image(rng)
            (file / f"{at}.png").write_bytes(damaged(rng, data) if rng.random() < 0.6 else data)
        if rng.random() < 0.5:
            np.savez(file / "more.npz", **arrays)
    else:
        file = folder / "calib.npz"
        np.savez(file, **arrays)
    if file.is_file() and rng.random() < 0.25:
        file.write_bytes(damaged(rng, file.read_bytes()))
    return file


def _samples(rng: Any, model: onnx.ModelProto) -> dict[str, Any]:
    given = {t.name for t in model.graph.initializer}
    arrays = {}
    for info in model.graph.input:
        if info.name in given:
            continue
        dims = [d.dim_value or 4 for d in info.type.tensor_type.shape.dim]
        count = int(one_of(rng, [0, 1, 2, 8, 8]))
        shape = [count, *dims[1:]] if dims else []
        kind = info.type.tensor_type.elem_type
        dtype = (
            np.dtype(helper.tensor_dtype_to_np_dtype(kind)) if kind not in (0, TensorProto.STRING) else np.dtype("f4")
        )
        with np.errstate(all="ignore"):
            array = rng.standard_normal([min(int(d), 64) for d in shape]).astype(dtype)
            arrays[info.name] = _spoiled(rng, array) if rng.random() < 0.6 else array
    if rng.random() < 0.15 and arrays:
        arrays.pop(one_of(rng, arrays))
    if rng.random() < 0.15:
        arrays[one_of(rng, ["labels", "x", "more"])] = rng.integers(0, 3, int(rng.integers(9)))
    return arrays


def _spoiled(rng: Any, array: Any) -> Any:
    kind = int(rng.integers(6))
    if kind == 0:
        return array.astype(one_of(rng, ["f2", "f8", "i4", "u1", "?", "c8", "U4", "O", "M8[s]"]))
    if kind == 1:
        return array[..., None] if rng.random() < 0.5 else array.reshape(-1)
    if kind == 2 and array.ndim:
        return np.repeat(array, 2, axis=int(rng.integers(array.ndim)))
    if kind == 3 and array.size and array.dtype.kind == "f":
        array.reshape(-1)[int(rng.integers(array.size))] = number(rng)
        return array
    if kind == 4:
        return np.full_like(array, 0 if rng.random() < 0.5 else 7)
    return np.array(integer(rng) % 100)


def _image(rng: Any) -> bytes:
    from PIL import Image

    size = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
    mode = one_of(rng, ["L", "RGB", "RGBA", "1", "P", "I;16", "F"])
    out = io.BytesIO()
    Image.new(mode, size).save(out, "TIFF" if mode in ("F", "I;16") else "PNG")
    return out.getvalue()


def weights(rng: Any, folder: Path, model: onnx.ModelProto) -> Path:
    """The weights of a model as a framework keeps them, with something wrong."""
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    if arrays and rng.random() < 0.5:
        name = one_of(rng, arrays)
        arrays[name] = _spoiled(rng, arrays[name].copy())
    if arrays and rng.random() < 0.3:
        arrays[text(rng) or "renamed"] = arrays.pop(one_of(rng, arrays))
    kind = int(rng.integers(4))
    if kind == 0:
        file = folder / "weights.npz"
        np.savez(file, **{(name or "x").replace("/", "_"): array for name, array in arrays.items()})
    elif kind == 1:
        file = folder / one_of(rng, ["weights.pt", "weights.bin", "weights.pth"])
        file.write_bytes(rng.bytes(200))
    else:
        file = folder / "weights.safetensors"
        file.write_bytes(
            _safetensors(rng, {n: np.asarray(a, np.float32) for n, a in arrays.items() if a.dtype.kind == "f"})
        )
    if rng.random() < 0.35:
        file.write_bytes(damaged(rng, file.read_bytes()))
    return file


def _safetensors(rng: Any, arrays: dict[str, Any]) -> bytes:
    """The format by hand: a header that says what lies where may say anything."""
    header: dict[str, Any] = {}
    body = b""
    for name, array in arrays.items():
        header[name] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [len(body), len(body) + array.nbytes],
        }
        body += array.tobytes()
    if header and rng.random() < 0.6:
        header = damaged_tree(rng, header)
    data = json.dumps(header).encode()
    length = len(data) if rng.random() < 0.9 else abs(integer(rng)) % 2**63
    return length.to_bytes(8, "little") + data + body
