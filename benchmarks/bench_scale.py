"""What this machine does in a second, a batch on 0 to 4 workers, and from that what large models and many models cost.

    python benchmarks/bench_scale.py [--models 8] [--check]

Prints the tables of docs/scale.md. ``--check``: also the arithmetic beside one measured run of a small decoder. Other
work on the machine makes it slower: figures are the best of several tries, seconds of the check are on a processor.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper
from scale_model import (
    SEVEN,
    SEVENTY,
    Constants,
    Decoder,
    Farm,
    Work,
    bottleneck,
    costs,
    memory,
    network,
    on_workers,
    total,
)
from scale_workers import show

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SAMPLES = ROOT / "sample_models"
SIZE, TRIES, BLOCK = 2048, 3, 1 << 28
_GIGA = 1e9
SMALL = Decoder("small", 512, 2048, 4, 8, 8, 1024, gated=False)
TEXTS, JUDGED = 256, 32
SMALL_WORK = Work(tokens=(TEXTS - JUDGED) * 32, length=32, judged=JUDGED * 32, left=0.8, width=4)


def best(function: Callable[[], object], tries: int = TRIES) -> float:
    """The least seconds of several."""
    found = []
    for _ in range(tries):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return min(found)


def forward_rate(threads: int) -> float:
    """FLOP/s of a MatMul in onnxruntime."""
    shape = [SIZE, SIZE]
    info = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape) for n in "xy"]
    weight = onnx.numpy_helper.from_array(np.random.default_rng(0).normal(size=shape).astype(np.float32), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", info[:1], info[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options)
    x = np.ones(shape, np.float32)
    return 2 * SIZE**3 / best(lambda: session.run(None, {"x": x}))


def blas_rates() -> tuple[float, float, float]:
    """FLOP/s of products at float32 and float64 and of a Cholesky at float64, on as many threads as NumPy has."""
    single = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32)
    double = single.astype(np.float64)
    positive = double @ double.T + SIZE * np.eye(SIZE)
    products = (2 * SIZE**3 / best(lambda x=x: x @ x) for x in (single, double))
    return (*products, SIZE**3 / 3 / best(lambda: np.linalg.cholesky(positive)))


def disk_rates(folder: Path) -> tuple[float, float]:
    """Bytes/s written until they are on the disk, and read when the system has been told to forget them."""
    data, file = os.urandom(BLOCK), folder / "block"

    def write() -> None:
        with file.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())

    def read() -> None:
        with file.open("rb", buffering=0) as found:
            os.posix_fadvise(found.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while found.read(1 << 24):
                pass

    return BLOCK / best(write), BLOCK / best(read)


def dask_rates() -> tuple[float, float]:
    """Bytes/s from one worker to another, and seconds of an empty task."""
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        one, other = client.scheduler_info()["workers"]
        found = []
        for _ in range(TRIES):
            block = client.submit(np.ones, BLOCK // 8, workers=[one], pure=False)
            distributed.wait(block)
            start = time.perf_counter()
            client.submit(len, block, workers=[other], pure=False).result()
            found.append(time.perf_counter() - start)
        start = time.perf_counter()
        client.gather(client.map(int, range(1000), pure=False))
        return BLOCK / min(found), (time.perf_counter() - start) / 1000


def child_seconds() -> float:
    """A process that has read what it needs."""
    return best(lambda: subprocess.run([sys.executable, "-c", "import spa_cli.batch"], cwd=ROOT, check=True))


def measured(folder: Path) -> Constants:
    """All constants of this machine."""
    product32, product64, factor64 = blas_rates()
    write, read = disk_rates(folder)
    transfer, task = dask_rates()
    return Constants(
        forward_rate(1), forward_rate(2), product32, product64, factor64, write, read, transfer, task, child_seconds()
    )


def batch(folder: Path, count: int, workers: int) -> tuple[float, str]:
    """(seconds, digest of all results) of so many models; no worker: one process."""
    import spa_cli

    source, out = folder / "models", folder / f"out{workers}"
    source.mkdir(exist_ok=True)
    data = (SAMPLES / "digits_mobilenet.onnx").read_bytes()
    for at in range(count):
        (source / f"{at:03}.onnx").write_bytes(data)
    start = time.perf_counter()
    engine = f"dask:{workers}" if workers else "here"
    for outcome in spa_cli.prune_many([source], out, engine=engine, ratio=0.3, round_to=1, calib_samples=64):
        if outcome.error is not None:
            raise outcome.error
    seconds = time.perf_counter() - start
    made = [hashlib.sha256(f.read_bytes()).digest() for f in sorted(out.iterdir())]
    return seconds, hashlib.sha256(b"".join(made)).hexdigest()


def checked(folder: Path, constants: Constants) -> tuple[float, float]:
    """Seconds on a processor of one run of a small decoder: (as the arithmetic says, as it took)."""
    from tests.architectures import decoder

    model, calib = folder / "decoder.onnx", folder / "ids.npz"
    sizes = {"width": SMALL.hidden, "words": SMALL.vocabulary, "length": SMALL_WORK.length}
    onnx.save(decoder(SMALL.layers, "random", head=SMALL.hidden // SMALL.heads, **sizes), model)
    rng = np.random.default_rng(0)
    np.savez(calib, input_ids=rng.integers(0, SMALL.vocabulary, (TEXTS, SMALL_WORK.length)))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = (
        "--target-params",
        "0.8",
        "--calib",
        str(calib),
        "--round-to",
        "8",
        "--memory-limit",
        "6GB",
        "--isolate",
        "--quiet",
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "spa_cli", "prune", str(model), "-o", str(folder / "small.onnx"), *arguments],
        cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return sum(total(costs(SMALL, SMALL_WORK), constants).values()), took


def row(*cells: object) -> None:
    """Of a table."""
    print("|", " | ".join(map(str, cells)), "|")


def show_constants(found: Constants) -> None:
    """As docs/scale.md has them."""
    row("constant", "measured")
    row("---", "---")
    rates = (
        ("onnxruntime MatMul, float32, one thread", found.forward),
        ("the same on two threads", found.forward_two),
        ("NumPy product, float32, one thread", found.product32),
        ("NumPy product, float64", found.product64),
        ("NumPy Cholesky, float64", found.factor64),
    )
    for name, rate in rates:
        row(name, f"{rate / _GIGA:.3g} GFLOP/s")
    for name, rate in (("disk, written", found.write), ("disk, read", found.read), ("Dask transfer", found.transfer)):
        row(name, f"{rate / _GIGA:.3g} GB/s")
    row("an empty task of Dask", f"{1e3 * found.task:.3g} ms")
    row("a child that has read its libraries", f"{found.child:.3g} s")


def show_decoders(found: Constants) -> None:
    """Of a 7 B and a 70 B decoder, on one thread."""
    work = Work()
    row("", *(f"{m.name}, hours" for m in (SEVEN, SEVENTY)), "most of it")
    row(*["---"] * 4)
    steps = [costs(m, work) for m in (SEVEN, SEVENTY)]
    for pair in zip(*steps, strict=True):
        every = [cost.seconds(found) for cost in pair]
        row(pair[0].step, *(f"{sum(s.values()) / 3600:.3g}" for s in every), bottleneck(every[1]))
    sums = [total(s, found) for s in steps]
    row("all", *(f"{sum(s.values()) / 3600:.3g}" for s in sums), bottleneck(sums[1]))
    row("memory at the peak, GB", *(f"{memory(m) / _GIGA:.3g}" for m in (SEVEN, SEVENTY)), "")
    disk = [(sum(c.read for c in s) / _GIGA, sum(c.write for c in s) / _GIGA) for s in steps]
    row("disk read / written, GB", *(f"{r:.3g} / {w:.3g}" for r, w in disk), "")
    row("network on 8 workers, GB", *(f"{network(m, work, 8) / _GIGA:.3g}" for m in (SEVEN, SEVENTY)), "")


def show_workers(found: Constants) -> None:
    """Of the same on more workers than there are here."""
    row("workers", "of", "work, hours", "solves", "disk", "network", "first bottleneck")
    row(*["---"] * 7)
    for model in (SEVEN, SEVENTY):
        for workers in (1, 8, 64):
            each = on_workers(model, Work(), found, workers)
            row(workers, model.name, *(f"{s / 3600:.3g}" for s in each.values()), bottleneck(each))


def show_farm(found: Constants, seconds: float) -> None:
    """Of 10,000 models, ``seconds`` each."""
    farm = Farm(10_000, seconds, 14_000_000)
    row("workers", "work, hours", "scheduler, hours", "network, hours", "first bottleneck")
    row(*["---"] * 5)
    for workers in (1, 8, 64, 512):
        each = farm.costs(workers, found)
        row(workers, *(f"{each[n] / 3600:.3g}" for n in ("work", "scheduler", "network")), bottleneck(each))
    print(f"\nWork takes longest up to {farm.most(found)} workers.")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--each", type=float, default=290.0, help="seconds on a processor of one MobileNetV2")
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = measured(folder)
        show_constants(found)
        print()
        show_decoders(found)
        print()
        show_workers(found)
        print()
        show_farm(found, asked.each)
        if asked.check:
            said, took = checked(folder, found)
            print(f"\nA decoder of {SMALL.params / 1e6:.0f} M: {said:.3g} s by arithmetic, {took:.3g} s measured")
        print()
        row("workers", "seconds", "bytes")
        row("---", "---", "---")
        for workers in (0, 1, 2, 4):
            seconds, digest = batch(folder, asked.models, workers)
            row(workers or "none", f"{seconds:.1f}", digest[:12])
        print()
        show(folder)


if __name__ == "__main__":
    main()
