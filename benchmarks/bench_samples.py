"""Accuracy of the sample models at half their MACs, with and without data: the table of the README.

python benchmarks/bench_samples.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort

import spa_cli

FOLDER = Path(__file__).resolve().parent.parent / "sample_models"
COLUMNS = {
    "obspa, data": {"method": "obspa", "data": True, "round_to": 1},
    "default widths": {"method": "obspa", "data": True, "round_to": "auto"},
    "obspa, no data": {"method": "obspa", "data": False, "round_to": 1},
    "l1": {"method": "l1", "data": False, "round_to": 1},
    "l2": {"method": "l2", "data": False, "round_to": 1},
    "random": {"method": "random", "data": False, "round_to": 1},
}


def accuracy(path: Path, name: str, entry: dict[str, str]) -> float:
    """Share of test images whose highest score is the label's."""
    data = np.load(FOLDER / f"{name}_test.npz")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (scores,) = session.run([entry["scores_output"]], {entry["input_name"]: data[entry["input_name"]]})
    return float((scores.argmax(1) == data["labels"]).mean())


def main() -> None:
    """Print one Markdown row per model."""
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    print("| model | exporter | dense | " + " | ".join(COLUMNS) + " |")
    print("|---" * (3 + len(COLUMNS)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "small.onnx"
        for name, entry in manifest.items():
            path = FOLDER / entry["file"]
            cells = [f"{100 * accuracy(path, name, entry):.1f}"]
            for column in COLUMNS.values():
                calib = FOLDER / f"{name}_calib.npz" if column["data"] else None
                options = {"method": column["method"], "calib": calib, "round_to": column["round_to"]}
                spa_cli.prune(path, out, force=True, target_macs=0.5, **options)
                cells.append(f"{100 * accuracy(out, name, entry):.1f}")
            print(f"| {name} | {entry['exporter']} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
