"""What follows an export: data files, checks in onnxruntime and the entry in the manifest."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from digits import Array, load_split

CALIB_IMAGES = 256
OUT_DIR = Path(__file__).resolve().parent.parent
MANIFEST = OUT_DIR / "manifest.json"


@dataclass(frozen=True)
class Package:
    """A framework or exporter by its spoken name and the package that carries its version."""

    name: str
    package: str


def run_scores(session: ort.InferenceSession, images: Array, scores: str) -> Array:
    """The class scores that a model gives for a batch in its own input layout."""
    (graph_input,) = session.get_inputs()
    return np.asarray(session.run([scores], {graph_input.name: images})[0])


def measure(path: Path, scores: str) -> float:
    """Check a committed model and return its accuracy on its own test file."""
    model = onnx.load(path, load_external_data=False)
    if any(tensor.external_data for tensor in model.graph.initializer):
        raise ValueError(f"{path.name} keeps initializers outside the file")
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    test = np.load(OUT_DIR / f"{path.stem}_test.npz")
    images, labels = test[session.get_inputs()[0].name], test["labels"]
    full = run_scores(session, images, scores)
    for batch in (1, 5):
        part = run_scores(session, images[:batch], scores)
        np.testing.assert_allclose(part, full[:batch], rtol=1e-3, atol=1e-4)
    return float((full.argmax(axis=1) == labels).mean())


def publish(
    name: str,
    *,
    framework: Package,
    exporter: Package,
    architecture: str,
    scores: str,
    to_input: Callable[[Array], Array],
) -> None:
    """Write the data files of an exported model, measure it and enter it in the manifest."""
    path = OUT_DIR / f"{name}.onnx"
    model = onnx.load(path)
    (graph_input,) = model.graph.input
    split = load_split()
    calib, test = to_input(split.train_x[:CALIB_IMAGES]), to_input(split.test_x)
    np.savez_compressed(OUT_DIR / f"{name}_calib.npz", **{graph_input.name: calib})
    arrays = {graph_input.name: test, "labels": split.test_y}
    np.savez_compressed(OUT_DIR / f"{name}_test.npz", **arrays)

    weights = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    dims = graph_input.type.tensor_type.shape.dim
    entry = {
        "file": path.name,
        "framework": framework.name,
        "framework_version": version(framework.package),
        "exporter": exporter.name,
        "exporter_version": version(exporter.package),
        "opset": next(o.version for o in model.opset_import if o.domain == ""),
        "architecture": architecture,
        "params": sum(int(np.prod(tensor.dims)) for tensor in weights),
        "input_name": graph_input.name,
        "input_shape": [d.dim_param or d.dim_value or None for d in dims],
        "scores_output": scores,
        "test_images": len(split.test_y),
        "test_accuracy": round(measure(path, scores), 4),
    }
    entries = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    entries[name] = entry
    MANIFEST.write_text(json.dumps(dict(sorted(entries.items())), indent=2) + "\n")
    print(json.dumps(entry, indent=2))
