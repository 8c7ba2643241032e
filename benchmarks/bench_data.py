"""How many calibration samples are needed, and of what kind: the tables of docs/data.md (accuracy at 0.3 of the MACs).

python benchmarks/bench_data.py
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
from bench_samples import FOLDER, accuracy

import spa_cli

MODELS = ("digits_resnet", "digits_vit")
COUNTS = (8, 16, 32, 64, 128, 256)
SEEDS = (0, 1, 2)


def kinds(images: np.ndarray, classes: np.ndarray) -> Iterator[tuple[str, np.ndarray | None]]:
    """Samples in the range of ``images`` (0 to 1), some of which are none a network of digits was made for."""
    rarest = np.flatnonzero(classes == np.bincount(classes, minlength=10).argmin())
    yield f"{len(images)} training images", images
    yield "the same at half their contrast", 0.5 * images
    yield "the same, inverted", 1 - images
    yield f"{len(images)} images of uniform noise", np.random.default_rng(0).random(images.shape, np.float32)
    yield f"the {len(rarest)} images of one class", images[rarest]
    yield "none (data-free)", None


def main() -> None:
    """Print both tables."""
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        out, file = Path(folder) / "small.onnx", Path(folder) / "calib.npz"

        def cell(name: str, samples: np.ndarray | None, count: int) -> str:
            entry = manifest[name]
            if samples is not None:
                np.savez(file, **{entry["input_name"]: samples})
            reached = []
            for seed in SEEDS:
                spa_cli.prune(
                    FOLDER / entry["file"],
                    out,
                    force=True,
                    target_macs=0.3,
                    round_to=1,
                    calib=None if samples is None else file,
                    calib_samples=count,
                    seed=seed,
                )
                reached.append(f"{100 * accuracy(out, name, entry):.1f}")
            return ", ".join(reached)

        images, shown = {}, {}
        for name in MODELS:
            entry = manifest[name]
            images[name] = np.load(FOLDER / f"{name}_calib.npz")[entry["input_name"]]
            session = ort.InferenceSession(str(FOLDER / entry["file"]), providers=["CPUExecutionProvider"])
            (scores,) = session.run([entry["scores_output"]], {entry["input_name"]: images[name]})
            shown[name] = list(kinds(images[name], scores.argmax(1)))
        heading = "| samples | " + " | ".join(MODELS) + " |\n" + "|---" * (1 + len(MODELS)) + "|"
        print(heading)
        for count in COUNTS:
            cells = [cell(name, images[name], count) for name in MODELS]
            print(f"| {count} | " + " | ".join(cells) + " |", flush=True)
        print("\n" + heading)
        for i, (label, _) in enumerate(shown[MODELS[0]]):
            cells = [cell(name, shown[name][i][1], 512) for name in MODELS]
            print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
