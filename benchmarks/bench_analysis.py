"""How long ``spa inspect`` takes and what memory it needs, at real size; run by ``make bench``.

Exits with 1 if a limit is missed: 5 s and 4 x the model's bytes for ResNet-50 and BERT-base, linear growth with
nodes, 10 s for a transformer of 5,000 nodes.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import onnx
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from spa_cli.analysis import analyse_model
from spa_cli.graph.source import Source
from tests import architectures

SECONDS, TIMES_BYTES, GROWTH = 5.0, 4.0, 2.0
# 5,000 nodes and some
_LAYERS, DEEP_SECONDS = 170, 10.0
SIZES = (250, 500, 1000, 2000, 5000)


def measured(*command: str) -> tuple[float, int]:
    """Wall seconds and peak resident bytes of a process.

    A child starts with its parent's peak (fork before exec), so this process has to stay small: no weights here.
    """
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def real_size(console: Console) -> bool:
    """``spa inspect`` on ResNet-50 and BERT-base with all their weights."""
    table = Table(
        "model", "nodes", "model MB", "seconds", "peak MB", "peak / model", "", title="spa inspect, whole process"
    )
    passed = True
    for name in ("resnet50", "bert_base"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.onnx"
            subprocess.run([sys.executable, __file__, "--build", name, str(path)], check=True)
            nodes = len(getattr(architectures, name)("shape-only").graph.node)
            size = path.stat().st_size
            seconds, peak = min(measured(sys.executable, "-m", "spa_cli", "inspect", str(path)) for _ in range(2))
            good = seconds <= SECONDS and peak <= TIMES_BYTES * size
            passed &= good
            row = (f"{nodes}", f"{size / 1e6:.0f}", f"{seconds:.2f}", f"{peak / 1e6:.0f}", f"{peak / size:.2f}")
            table.add_row(name, *row, "ok" if good else "[red]over the limit[/]")
    console.print(table)
    console.print(f"limits: {SECONDS:g} s, {TIMES_BYTES:g} x the model's bytes\n")
    return passed


def growth(console: Console) -> bool:
    """Analysis time against the number of nodes."""
    table = Table("net", "nodes", "seconds", "ms per node", "", title="analysis, time by number of nodes")
    passed = True
    for build in (architectures.chain, architectures.residual):
        reference = None
        for size in SIZES:
            model = build(size)
            nodes = len(model.graph.node)
            each = min(_timed(model) for _ in range(3)) / nodes
            reference = each if reference is None else reference
            good = each <= GROWTH * reference
            passed &= good
            table.add_row(
                build.__name__,
                f"{nodes}",
                f"{each * nodes:.2f}",
                f"{each * 1e3:.2f}",
                "ok" if good else "[red]grows[/]",
            )
    console.print(table)
    console.print(f"limit: {GROWTH:g} x the smallest's time per node; quadratic growth: {SIZES[-1] // SIZES[0]} x\n")
    return passed


def deep(console: Console) -> bool:
    """A transformer of thousands of nodes, whose blocks all couple on one stream."""
    model = architectures.bert_base("shape-only", layers=_LAYERS)
    seconds = _timed(model)
    good = seconds <= DEEP_SECONDS
    verdict = "ok" if good else "[red]slow[/]"
    nodes = len(model.graph.node)
    console.print(f"BERT of {_LAYERS} layers, {nodes} nodes: {seconds:.1f} s (limit {DEEP_SECONDS:g} s) {verdict}\n")
    return good


def _timed(model: onnx.ModelProto) -> float:
    start = time.perf_counter()
    analyse_model(Source(model, "model"), {})
    return time.perf_counter() - start


def others(console: Console) -> None:
    """What another tool takes for the same network, if it is there."""
    table = Table("tool", "network", "seconds", title="other tools")
    found = importlib.util.find_spec("onnxsim") is not None
    table.add_row("onnxsim", "ResNet-50", f"{_onnxsim():.2f}" if found else "not installed")
    console.print(table)


def _onnxsim() -> float:
    import onnxsim

    model = architectures.resnet50("random")
    start = time.perf_counter()
    onnxsim.simplify(model)
    return time.perf_counter() - start


def main() -> int:
    """Print the tables; 1 if a limit is missed. ``--build NAME PATH`` only writes a network with its weights."""
    if sys.argv[1:2] == ["--build"]:
        name, path = sys.argv[2:]
        onnx.save(getattr(architectures, name)("random"), path)
        return 0
    console = Console()
    passed = [real_size(console), growth(console), deep(console)]
    others(console)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
