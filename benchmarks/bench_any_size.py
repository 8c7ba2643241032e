"""OBSPA on a decoder of a billion parameters under a memory limit, killed and gone on with; ``make bench-large``.

Builds a decoder of ``--layers`` layers with random weights (4.5 GB by default, half of it with ``--half``) in a folder
under ``--place``, prunes it to 0.8 of its parameters in a control group that has ``--limit`` GB, then again with
``--work``, killed after a third of that time, and a third time to the end. Exits with 1 if one of them fails, or if the
two results are not the same to the byte. Where no control group can be made (it takes root, and Linux), memory is
measured and not limited. ``--once``: without the second and third run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from bench_large import save_with_random_weights
from onnx import TensorProto, numpy_helper
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.architectures import decoder

SAMPLES, POSITIONS = 512, 8
GROUPS = Path("/sys/fs/cgroup/memory")


class Limited:
    """A process in a control group of its own (version 1), or without one."""

    def __init__(self, command: list[str], limit: float) -> None:
        self.anonymous, self._start = 0, time.perf_counter()
        self._group = GROUPS / f"spa-bench-{os.getpid()}"
        try:
            self._group.mkdir()
            (self._group / "memory.limit_in_bytes").write_text(str(int(limit * 1e9)))
            self.limited = True
        except OSError:
            self.limited = False
        self._process = subprocess.Popen(command, preexec_fn=self._join, stdout=subprocess.DEVNULL)

    def _join(self) -> None:
        if self.limited:
            (self._group / "cgroup.procs").write_text(str(os.getpid()))

    def wait(self, seconds: float = float("inf")) -> float:
        """Until it ends, or for so long, then kill it; how long it ran."""
        while self._process.poll() is None:
            lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
            now = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)
            self.anonymous = max(self.anonymous, now)
            if time.perf_counter() - self._start > seconds:
                self._process.kill()
            time.sleep(0.5)
        took = time.perf_counter() - self._start
        if self.limited:
            time.sleep(1)
            self._group.rmdir()
        return took

    @property
    def good(self) -> bool:
        """Whether it came to its end."""
        return self._process.returncode == 0


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same in half precision; weights that have no values stay without."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            if tensor.HasField("raw_data"):
                half = numpy_helper.to_array(tensor).astype(np.float16)
                tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
            tensor.data_type = TensorProto.FLOAT16
    for info in model.graph.output:
        info.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def digest(folder: Path) -> str:
    """Of a result, both files."""
    found = hashlib.sha256()
    for file in sorted(folder.glob("small.onnx*")):
        with file.open("rb") as opened:
            while data := opened.read(1 << 24):
                found.update(data)
    return found.hexdigest()[:12]


def main() -> None:
    """Build, prune, kill, go on, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--limit", type=float, default=8.0)
    parser.add_argument("--place", default=None)
    parser.add_argument("--once", action="store_true")
    given = parser.parse_args()
    console = Console(width=100)
    table = Table("run", "seconds", "peak GB (anonymous)", "GB before", "GB after", "SHA-256", "")
    good, digests = True, set[str]()
    with tempfile.TemporaryDirectory(dir=given.place) as place:
        folder = Path(place)
        model = decoder(given.layers, width=given.width)
        before = save_with_random_weights(halved(model) if given.half else model, folder / "large.onnx")
        words = np.random.default_rng(1).zipf(1.3, (SAMPLES, POSITIONS)).clip(1, 31999)
        np.savez(folder / "tokens.npz", input_ids=words.astype(np.int64))
        command = [sys.executable, "-m", "spa_cli", "prune", str(folder / "large.onnx"), "--target-params", "0.8"]
        command += ["--calib", str(folder / "tokens.npz"), "--memory", given.memory, "--round-to", "16", "--force"]
        command += ["-o", str(folder / "small.onnx")]
        kept = ["--work", str(folder / "work")]

        def run(name: str, more: list[str], seconds: float = float("inf")) -> float:
            nonlocal good
            process = Limited([*command, *more], given.limit)
            took = process.wait(seconds)
            row, killed = [name, f"{took:.0f}", f"{process.anonymous / 1e9:.2f}", f"{before / 1e9:.2f}"], seconds < took
            if process.good:
                digests.add(digest(folder))
                after = sum(p.stat().st_size for p in folder.glob("small.onnx*"))
                table.add_row(*row, f"{after / 1e9:.2f}", digest(folder), "limited" if process.limited else "")
            else:
                good = good and killed
                table.add_row(*row, "", "", "killed" if killed else "FAIL")
            return took

        whole = run("whole", [])
        if not given.once:
            run("killed", kept, whole / 3)
            run("gone on with", kept)
    console.print(table)
    sys.exit(not good or len(digests) != 1)


if __name__ == "__main__":
    main()
