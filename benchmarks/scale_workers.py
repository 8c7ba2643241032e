"""One model on several workers: the bytes of one process, seconds, and what travels.

    python benchmarks/scale_workers.py [--layers 2] [--width 256]

Prints the tables of docs/scale.md. As root, on Linux, also two workers in network namespaces of their own, which have
nothing in common with the rest but a bridge and the files; one of them is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
BRIDGE, SPACES, PREFIX, PORT = "spabr0", ("spa-one", "spa-two"), "10.213.77", 8786
TEXTS, LENGTH, WORDS = 256, 32, 1024
# what is spread, by what its stages are called
SPREAD = ("measuring what outputs feel", "running the calibration samples", "ranking channels")


def example(folder: Path, layers: int, width: int) -> tuple[Path, Path]:
    """A decoder with random weights, and texts for it."""
    from tests.architectures import decoder

    model, calib = folder / "decoder.onnx", folder / "ids.npz"
    onnx.save(decoder(layers, "random", head=64, width=width, words=WORDS, length=LENGTH), model)
    np.savez(calib, input_ids=np.random.default_rng(0).integers(0, WORDS, (TEXTS, LENGTH)))
    return model, calib


def pruned(model: Path, calib: Path, engine: str) -> tuple[float, float, str]:
    """(seconds, those of them in stages that are spread, digest of the result)."""
    import spa_cli

    out = model.with_name("small.onnx")
    spent, last = dict.fromkeys(SPREAD, 0.0), ["", time.perf_counter()]

    def hear(stage: str, _: float) -> None:
        now = time.perf_counter()
        if last[0] in spent:
            spent[last[0]] += now - last[1]
        last[:] = [stage, now]

    start = time.perf_counter()
    how = {"target_params": 0.8, "round_to": 8, "calib": calib, "force": True, "progress": hear}
    spa_cli.prune(model, out, engine=engine, **how)
    return time.perf_counter() - start, sum(spent.values()), hashlib.sha256(out.read_bytes()).hexdigest()


def moved(dask_worker: Any) -> int:
    """Bytes that a worker gave to others and to whoever asked, as Dask counts them."""
    return int(dask_worker.transfer_outgoing_bytes_total)


def measured(client: Any, model: Path, calib: Path) -> tuple[float, float, str, int, str]:
    """As ``pruned``, with bytes as Dask counts them, and seconds on a processor, here and of each worker."""
    address = client.scheduler.address.split("://")[-1]
    sent, own, each = sum(client.run(moved).values()), time.process_time(), client.run(time.process_time)
    found = pruned(model, calib, f"dask://{address}")
    own = time.process_time() - own
    after = client.run(time.process_time)
    # one that took the place of another counts from its start
    busy = sorted(seconds - each.get(worker, 0.0) for worker, seconds in after.items())
    return (*found, sum(client.run(moved).values()) - sent, " + ".join(f"{s:.1f}" for s in (own, *busy)))


def row(*cells: object) -> None:
    """Of a table."""
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def show_here(model: Path, calib: Path, workers: tuple[int, ...] = (1, 2)) -> None:
    """One process, and workers of this machine, as ``spa`` starts them."""
    from spa_cli.engines import Asked
    from spa_cli.engines.reach import client_of

    row("workers", "seconds", "of them spread", "on a processor, here + each", "MB by Dask", "bytes")
    row(*["---"] * 6)
    own = time.process_time()
    seconds, spread, digest = pruned(model, calib, "here")
    row("none", f"{seconds:.1f}", f"{spread:.1f}", f"{time.process_time() - own:.1f}", "", digest[:12])
    for count in workers:
        with contextlib.ExitStack() as stack:
            seconds, spread, digest, size, busy = measured(
                client_of(Asked.of(f"dask:{count}"), count, stack), model, calib
            )
        row(count, f"{seconds:.1f}", f"{spread:.1f}", busy, f"{size / 1e6:.1f}", digest[:12])


def ip(*words: str) -> None:
    """Of iproute2."""
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def apart() -> Iterator[str]:
    """The address of a scheduler here that has workers in namespaces of their own."""
    made = list[tuple[str, ...]]()
    processes = list[subprocess.Popen[bytes]]()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}

    def start(*words: str, inside: str = "") -> None:
        before = ["ip", "netns", "exec", inside] if inside else []
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = [*before, sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
        processes.append(subprocess.Popen(command, env=environment, **quiet))

    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        made.append(("link", "del", BRIDGE))
        ip("addr", "add", f"{PREFIX}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        start("dask_scheduler", "--host", f"{PREFIX}.1", "--port", str(PORT), "--no-dashboard")
        for number, name in enumerate(SPACES, 2):
            ip("netns", "add", name)
            made.append(("netns", "del", name))
            ip("link", "add", f"spav{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"spav{number}", "master", BRIDGE, "up")
            ip("-n", name, "addr", "add", f"{PREFIX}.{number}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
            options = ("--nthreads", "1", "--memory-limit", "0", "--no-dashboard")
            start("dask_worker", f"tcp://{PREFIX}.1:{PORT}", "--host", f"{PREFIX}.{number}", *options, inside=name)
        yield f"tcp://{PREFIX}.1:{PORT}"
    finally:
        for process in processes[::-1]:
            process.terminate()
        for process in processes:
            process.wait(30)
        for words in made[::-1]:
            ip(*words)


def travelled() -> int:
    """Bytes that have gone into and out of the namespaces, as the system counts them."""
    folders = (Path(f"/sys/class/net/spav{n}/statistics") for n in range(2, 2 + len(SPACES)))
    return sum(int((folder / name).read_text()) for folder in folders for name in ("rx_bytes", "tx_bytes"))


def kill_one(client: Any, killed: list[str]) -> None:
    """A worker, once it gathers what a chunk gives."""
    processes = client.run(os.getpid)
    while not (busy := [w for w, tasks in client.processing().items() if any("gathered" in t for t in tasks)]):
        time.sleep(0.005)
    os.kill(processes[busy[0]], signal.SIGKILL)
    killed.append(busy[0])


def show_apart(model: Path, calib: Path) -> None:
    """Two workers that only a network joins, then one of them killed."""
    import distributed

    row("two workers in namespaces", "seconds", "on a processor, here + each", "MB by the system", "bytes")
    row(*["---"] * 5)
    with apart() as address, distributed.Client(address, timeout="60s") as client:
        for what in ("whole", "one killed"):
            client.wait_for_workers(len(SPACES), timeout=60)
            killed, before = list[str](), travelled()
            if what != "whole":
                threading.Thread(target=kill_one, args=(client, killed), daemon=True).start()
            seconds, _, digest, _, busy = measured(client, model, calib)
            size = travelled() - before
            row(what, f"{seconds:.1f}", busy if what == "whole" else "", f"{size / 1e6:.1f}", digest[:12])
            assert (what != "whole") == bool(killed)


def show(folder: Path, layers: int = 2, width: int = 256) -> None:
    """All of it, for a decoder of that size."""
    model, calib = example(folder, layers, width)
    show_here(model, calib)
    print()
    try:
        show_apart(model, calib)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"Not measured: no network namespaces can be made here ({error})")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=256)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        show(Path(name), asked.layers, asked.width)


if __name__ == "__main__":
    main()
