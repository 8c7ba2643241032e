"""A network of a billion parameters in external data: memory and time of one round trip; part of ``make bench``.

Builds a decoder of ``--layers`` layers with random weights (4.5 GB by default) in a temporary folder, prunes it, and
exits with 1 if the process needed more than 1.5 times the model's bytes, or if the result isn't smaller or doesn't run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnx.external_data_helper import set_external_data
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bench_analysis import measured
from tests.architectures import decoder

MOST = 1.5


def save_with_random_weights(model: onnx.ModelProto, path: Path) -> int:
    """Write ``model``, whose large weights have no values yet, with random ones; bytes of both files."""
    rng = np.random.default_rng(0)
    data = path.with_name(f"{path.name}.data")
    with data.open("wb") as file:
        for tensor in model.graph.initializer:
            if tensor.HasField("raw_data"):
                continue
            left, start = int(np.prod(tensor.dims, dtype=np.int64)), file.tell()
            kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
            scale = np.float32(1 / np.sqrt(tensor.dims[0]))
            while left:
                values = rng.standard_normal(min(left, 1 << 24), np.float32) * scale
                file.write(values.astype(kind, copy=False).tobytes())
                left -= len(values)
            tensor.raw_data = b""
            set_external_data(tensor, data.name, start, file.tell() - start)
            tensor.ClearField("raw_data")
    onnx.save(model, str(path))
    return path.stat().st_size + data.stat().st_size


def main() -> None:
    """Build, prune, look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--method", default="l1")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "large.onnx", Path(folder) / "small.onnx"
        before = save_with_random_weights(decoder(arguments.layers), path)
        command = ("prune", str(path), "--ratio", "0.3", "--method", arguments.method, "-o", str(out))
        seconds, peak = measured(sys.executable, "-m", "spa_cli", *command)
        after = sum(p.stat().st_size for p in Path(folder).glob("small.onnx*"))
        session = onnxruntime.InferenceSession(str(out))
        (logits,) = session.run(None, {"input_ids": np.ones((1, 8), np.int64)})
        good = peak <= MOST * before and after < before and bool(np.isfinite(logits).all())
    table = Table("parameters", "GB before", "GB after", "seconds", "peak GB", "peak / model", "", title="spa prune")
    table.add_row(
        f"{before / 4e9:.2f} G",
        f"{before / 1e9:.2f}",
        f"{after / 1e9:.2f}",
        f"{seconds:.0f}",
        f"{peak / 1e9:.2f}",
        f"{peak / before:.2f}",
        "ok" if good else "FAIL",
    )
    Console().print(table)
    sys.exit(not good)


if __name__ == "__main__":
    main()
