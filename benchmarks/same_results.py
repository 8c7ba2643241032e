"""Whether a change of the code left every result as it was: record before, compare after.

    python benchmarks/same_results.py record build/before MODEL_OR_FOLDER...
    python benchmarks/same_results.py compare build/before MODEL_OR_FOLDER...

Per model: ``inspect --json``, ``prune --method l1`` and ``--method obspa`` (32 samples, fixed seed; of a sample model
also at half its MACs with its own data), with the plan, the bytes of the small model and of its external data, and
what ``--json`` says but for times. One thread, widths as they come: nothing is measured, so all of it has to be the
same byte for byte. Exits with 1 and names what differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_TIMEOUT = 900
_PRUNE = ("--round-to", "1", "--seed", "0", "--force", "--json", "--calib-samples", "32")
# measured anew by every run, or in a folder of its own
_OTHER = ("latency_ms", "output", "plan")


def spa(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    command = [sys.executable, "-m", "spa_cli", *arguments]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT, env={**os.environ, **_ONE_THREAD}, check=False
        )
    except subprocess.TimeoutExpired:
        return 124, "", "timed out"
    return run.returncode, run.stdout, run.stderr


def digest(data: bytes) -> str:
    """A short name for bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def comparable(report: Any) -> Any:
    """A report without what differs from run to run."""
    if isinstance(report, dict):
        return {k: comparable(v) for k, v in report.items() if k not in _OTHER}
    if isinstance(report, list):
        return [comparable(v) for v in report if not (isinstance(v, str) and "latency" in v)]
    return report


def answer(code: int, out: str, err: str) -> dict[str, Any]:
    """What a command said, apart from progress and times."""
    if code:
        errors = [line for line in err.splitlines() if line.startswith("error:")]
        return {"code": code, "error": errors or err.splitlines()[-1:]}
    # onnx itself prints warnings of experimental operators before
    return {"code": 0, "json": comparable(json.loads(out[out.index("{") :]))}


def results(model: Path) -> dict[str, Any]:
    """Everything that has to stay the same of one model."""
    found: dict[str, Any] = {"inspect": answer(*spa("inspect", str(model), "--json"))}
    runs = {m: ("--method", m, "--ratio", "0.3") for m in ("l1", "obspa")}
    data = model.with_name(f"{model.stem}_calib.npz")
    if data.exists():
        runs["calib"] = ("--target-macs", "0.5", "--calib", str(data))
        runs["repaired"] = (
            "--method",
            "l2",
            "--ratio",
            "0.4",
            "--normalisation",
            "mean",
            "--repair",
            "--calib",
            str(data),
        )
        runs["wanda"] = ("--method", "wanda", "--target-params", "0.5", "--calib", str(data))
    for name, options in runs.items():
        with tempfile.TemporaryDirectory() as folder:
            small, plan = Path(folder) / "small.onnx", Path(folder) / "plan.json"
            said = answer(*spa("prune", str(model), "-o", str(small), "--plan-out", str(plan), *_PRUNE, *options))
            files = {f.name: digest(f.read_bytes()) for f in sorted(Path(folder).iterdir())}
            found[name] = {**said, "files": files}
    return found


def models(paths: list[Path]) -> list[Path]:
    """The files among paths and in folders."""
    return sorted(m for p in paths for m in (p.rglob("*.onnx") if p.is_dir() else [p]))


def differences(before: Any, after: Any, where: str = "") -> list[str]:
    """Where two results differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted({*before, *after})
        return [d for k in keys for d in differences(before.get(k), after.get(k), f"{where}/{k}")]
    return [] if before == after else [f"{where}: {str(before)[:200]} -> {str(after)[:200]}"]


def main() -> None:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--part", default="0/1", help="1/4: the second quarter of the models")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    part, parts = map(int, options.part.split("/"))
    differ = 0
    for model in models(options.paths)[part::parts]:
        kept = options.folder / f"{model.stem}.json"
        if options.what == "record":
            if not kept.exists():
                kept.write_text(json.dumps(results(model), indent=1))
        elif kept.exists():
            now = json.loads(json.dumps(results(model)))
            for line in differences(comparable(json.loads(kept.read_text())), now):
                differ += 1
                print(f"{model.name}{line}", flush=True)
        print(model.name, "done", flush=True)
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
