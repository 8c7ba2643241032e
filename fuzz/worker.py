"""The process in which cases run: one after the other, and gone with one that takes it along."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

# bytes that a case may take
_MEMORY = 6 << 30


def main() -> None:
    """Read orders, one JSON object a line, and answer each with another on what was standard output."""
    out = os.fdopen(os.dup(1), "w")
    # whatever else is printed is none of ours
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    faulthandler.enable()
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from tests.quick import shorten

    shorten(setattr)
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(_one(json.loads(line))), file=out, flush=True)


def _one(order: dict[str, Any]) -> dict[str, Any]:
    """Make the case that is ordered, or take the one that lies in its folder, and judge it."""
    from fuzz.cases import kept, make
    from fuzz.judge import judge

    folder = Path(order["folder"])
    if "case" in order:
        models = Path(order["models"]) if order["models"] else None
        case = make(order["seed"], order["case"], folder, Path(order["plans"]), models)
    else:
        case = kept(folder)
    begun = time.perf_counter()
    faulthandler.dump_traceback_later(order["seconds"] - 5, repeat=True, exit=False)
    try:
        verdict = judge(case)
    finally:
        faulthandler.cancel_dump_traceback_later()
    return {**vars(verdict), "good": verdict.good, "target": case.target, "seconds": time.perf_counter() - begun}


if __name__ == "__main__":
    main()
