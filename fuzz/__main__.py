"""``python -m fuzz``: many cases, the findings among them made small, kept and told."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fuzz.children import ROOT, SECONDS, Children
from fuzz.minimise import minimise


def main() -> int:
    """Run the cases; 1 if there are findings."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path, help="a folder with more models to damage")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "fuzz", help="where findings go")
    given = parser.parse_args()
    models = str(given.models.resolve()) if given.models is not None and given.models.is_dir() else None
    # plans of sound models are made once
    plans = given.out / "plans"
    plans.mkdir(parents=True, exist_ok=True)
    common = {"seed": given.seed, "models": models, "plans": str(plans.resolve())}
    children, begun = Children(given.out / "worker.log"), time.perf_counter()
    kinds, keys, targets = Counter[str](), Counter[str](), Counter[str]()
    for number in range(given.first, given.first + given.cases):
        folder = Path(tempfile.mkdtemp(prefix="spa-fuzz-"))
        found = children.run({**common, "case": number, "folder": str(folder)})
        if found.get("native") and _contained(folder):
            # what native code does in its own process is not ours to mend
            found |= {"good": True, "kind": f"{found['kind']} that --isolate contains"}
            print(f"{given.seed}-{number}: {found['key']}, which --isolate contains: {_about(folder)}", flush=True)
        kinds[found["kind"]] += 1
        targets[f"{found.get('target', '?')} {found['kind']}"] += 1
        if not found["good"]:
            keys[found["key"]] += 1
            if keys[found["key"]] == 1:
                _keep(children, folder, given.out / f"{given.seed}-{number}", found)
        shutil.rmtree(folder, ignore_errors=True)
        if (number + 1) % 500 == 0:
            print(f"{number + 1}: {dict(kinds)}, {time.perf_counter() - begun:.0f} s", flush=True)
    children.close()
    print(f"seed {given.seed}, {given.cases} cases in {time.perf_counter() - begun:.0f} s")
    for key, count in (*sorted(targets.items()), *keys.most_common()):
        print(f"{count:6} {key}")
    return 1 if keys else 0


def _about(folder: Path) -> str:
    """What a case is, and how to see it."""
    if not (folder / "case.json").is_file():
        return "it was not finished being made"
    case = json.loads((folder / "case.json").read_text())
    commands = " && ".join(f"spa {' '.join(arguments)}" for arguments in case["commands"])
    return f"{case['target']} of {case['seed']} ({', '.join(case['done'])}): cd {folder} && {commands}"


def _contained(folder: Path) -> bool:
    """Whether a user who isolates sees one sentence and a documented exit code."""
    if not (folder / "case.json").is_file():
        return False
    (*_, arguments) = json.loads((folder / "case.json").read_text())["commands"]
    ran = subprocess.run(
        [sys.executable, "-m", "spa_cli", *arguments, "--isolate", "--time-limit", str(SECONDS)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        errors="replace",
    )
    said = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    return ran.returncode == 3 and len(said) == 1 and "unexpected" not in ran.stderr


def _keep(children: Children, folder: Path, kept: Path, found: dict[str, Any]) -> None:
    """Keep a finding, make it small if it is of a model, and tell it."""
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder, kept)
    (kept / "finding.txt").write_text(f"{found['key']}\n{found.get('text', '')}")
    about = _about(kept)
    print(f"{kept.name}: {found['key']}\n    {about}", flush=True)
    if found["kind"] not in ("crash", "hang") and about.startswith("model of"):
        shutil.copy(kept / "model.onnx", kept / "whole.onnx")
        minimise(kept / "model.onnx", lambda: children.run({"folder": str(kept)}).get("key") == found["key"])


if __name__ == "__main__":
    sys.exit(main())
