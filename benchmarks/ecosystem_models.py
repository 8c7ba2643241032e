"""The trained models of ``bench_ecosystem.py``, with inputs like those they were trained on."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Feeds = dict[str, np.ndarray]
SAMPLES = Path(__file__).resolve().parent.parent / "sample_models"
MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1)


@dataclass(frozen=True)
class Case:
    """A model, calibration samples, and held-out ones in batches it takes; ``labels`` where there are any.

    ``wide``: activations that 8 bits do not hold: the original is lost by them alone. ``real``: of real size.
    """

    path: Path
    calib: Feeds
    held_out: list[Feeds]
    labels: np.ndarray | None = None
    scores: str = ""
    wide: bool = False
    real: bool = False


def batches(arrays: Feeds, size: int) -> list[Feeds]:
    """Samples as the model takes them."""
    count = len(next(iter(arrays.values())))
    return [{n: np.ascontiguousarray(a[i : i + size]) for n, a in arrays.items()} for i in range(0, count, size)]


def enlarged(images: np.ndarray, size: int) -> np.ndarray:
    """Square images, bilinearly."""
    old = images.shape[-1]
    at = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
    low = np.floor(at).astype(int)
    weights = np.zeros((size, old), np.float32)
    weights[np.arange(size), low] = 1 - (at - low)
    weights[np.arange(size), np.minimum(low + 1, old - 1)] += at - low
    return np.einsum("yh,nchw,xw->ncyx", weights, images.astype(np.float32), weights, optimize=True)


def resnet20(real: Path, bench: Path, images: int) -> Case:
    """A CNN on CIFAR-10, with labels."""
    calib = (np.load(bench / "cifar10_calib.npz")["x"][:512] / 255 - MEAN) / DEVIATION
    test = np.load(bench / "cifar10_test.npz")
    held_out = (test["x"][:images] / 255 - MEAN) / DEVIATION
    return Case(
        bench / "resnet20.onnx",
        {"input": calib.astype(np.float32)},
        batches({"input": held_out.astype(np.float32)}, 100),
        test["y"][:images],
        "logits",
    )


def yolox_nano(real: Path, bench: Path, images: int) -> Case:
    """A detector; photographs are CIFAR images, enlarged."""
    calib = enlarged(np.load(bench / "cifar10_calib.npz")["x"][:32, ::-1], 416)
    held_out = enlarged(np.load(bench / "cifar10_test.npz")["x"][:16, ::-1], 416)
    return Case(real / "models/yolox_nano.onnx", {"images": calib}, batches({"images": held_out}, 1))


def as_magika_reads(path: Path) -> np.ndarray:
    """A file's beginning, middle and end, 512 bytes each; 256 is padding."""
    content = path.read_bytes()
    begin, end = content[:4096].lstrip()[:512], content[-4096:].rstrip()[-512:]
    middle = content[max(len(content) // 2 - 256, 0) :][:512]
    before = (512 - len(middle)) // 2
    padded = [(0, begin), (before, middle), (512 - len(end), end)]
    parts = np.full((3, 512), 256, np.float32)
    for part, (at, piece) in zip(parts, padded, strict=True):
        part[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
    return parts.reshape(-1)


def some_files(count: int) -> list[Path]:
    """Files of this machine, of many kinds, the same ones every time."""
    found, kinds = list[Path](), Counter[str]()
    for root in (Path(sys.prefix), *map(Path, ("/usr/include", "/usr/share", "/usr/bin", "/etc"))):
        for folder, folders, names in os.walk(root):
            folders.sort()
            for path in (Path(folder, name) for name in sorted(names)):
                if kinds[path.suffix] < 40 and path.is_file() and os.access(path, os.R_OK) and path.stat().st_size > 64:
                    kinds[path.suffix] += 1
                    found.append(path)
    np.random.default_rng(0).shuffle(found)
    return found[:count]


def magika(real: Path, bench: Path, images: int) -> Case:
    """What kind a file is, from its bytes (dense layers and norms); inputs are files of this machine."""
    read = np.stack([as_magika_reads(path) for path in some_files(384)])
    half = 128
    return Case(real / "models/magika_v1.onnx", {"bytes": read[:half]}, batches({"bytes": read[half:]}, 32), wide=True)


def digits(name: str) -> Case:
    """A sample model, with labels."""
    entry = json.loads((SAMPLES / "manifest.json").read_text())[name]
    test, wanted = np.load(SAMPLES / f"{name}_test.npz"), entry["input_name"]
    with np.load(SAMPLES / f"{name}_calib.npz") as data:
        calib = {wanted: data[wanted]}
    held_out = batches({wanted: test[wanted]}, 199)
    return Case(SAMPLES / entry["file"], calib, held_out, test["labels"], entry["scores_output"])


def imagenet(name: str, folder: Path, images: int) -> Case:
    """A classifier of ``bench_networks.py``: prepared and labelled by the ``evaluate.py`` beside it."""
    found = importlib.util.spec_from_file_location("evaluate", folder / "evaluate.py")
    assert found is not None and found.loader is not None
    evaluate = importlib.util.module_from_spec(found)
    found.loader.exec_module(evaluate)
    wanted = evaluate.NETS[name][0]
    calib, _ = evaluate.prepared(name, "calib.zip", 512)
    held_out, names = evaluate.prepared(name, "val.zip", images)
    known = json.loads(zipfile.ZipFile(folder / "val.zip").read("labels.json"))
    labels = np.array([known[n] for n in names]) + evaluate.OFFSET.get(name, 0)
    return Case(folder / f"{name}.onnx", {wanted: calib}, batches({wanted: held_out}, 16), labels, real=True)


IMAGENET = ("efflite0", "mnv2", "squeeze")
CASES = {"resnet20": resnet20, "yolox_nano": yolox_nano, "magika_v1": magika}


def case_of(name: str, real: Path, bench: Path, images: int) -> Case:
    """One of ``CASES``, or a sample model."""
    return CASES[name](real, bench, images) if name in CASES else digits(name)
