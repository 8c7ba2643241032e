"""The same bytes whatever the machine does besides: NumPy's linear algebra on one thread.

What OpenBLAS rounds depends on how many threads share a product, by default as many as there are cores. onnxruntime
keeps all of its threads: what it gives does not depend on their number.
"""

from __future__ import annotations

import os
import sys

_NAME = "OPENBLAS_NUM_THREADS"


def cores() -> int:
    """What this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_one_thread() -> None:
    """Load NumPy so that its linear algebra takes one thread, whatever the environment asks for.

    Nothing changes where NumPy was loaded before: in a program that calls commands. Processes that are started later
    see the environment as it was.
    """
    if "numpy" in sys.modules:
        return
    asked = os.environ.get(_NAME)
    os.environ[_NAME] = "1"
    import numpy as np  # noqa: F401 - it is read as it loads

    if asked is None:
        del os.environ[_NAME]
    else:
        os.environ[_NAME] = asked
