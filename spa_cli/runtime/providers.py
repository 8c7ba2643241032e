"""What onnxruntime computes on: ``--provider``, for calibration and timing.

Checks stay on the CPU, whose arithmetic their tolerances are about.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import onnxruntime as ort

from spa_cli.errors import OptionError

CPU = ("CPUExecutionProvider",)
_SUFFIX = "ExecutionProvider"
_chosen: ContextVar[tuple[str, ...]] = ContextVar("providers", default=CPU)


def chosen() -> tuple[str, ...]:
    """Names of the providers in force, as onnxruntime has them."""
    return _chosen.get()


def named(given: str | Sequence[str]) -> tuple[str, ...]:
    """``cuda`` to ``CUDAExecutionProvider``; raises UsageError for one that this onnxruntime doesn't have."""
    there = {p.removesuffix(_SUFFIX).lower(): p for p in ort.get_available_providers()}
    there |= {p.lower(): p for p in there.values()}
    short = ", ".join(p.removesuffix(_SUFFIX).lower() for p in ort.get_available_providers())
    found = []
    names = given.split(",") if isinstance(given, str) else given
    for name in (n.strip() for n in names if n.strip()):
        if name.lower() not in there:
            raise OptionError(
                f"--provider {name} is not in this onnxruntime, which has {short}; install the package that has it "
                "(onnxruntime-gpu, onnxruntime-openvino, ...)"
            )
        found.append(there[name.lower()])
    return tuple(found) or CPU


@contextlib.contextmanager
def running_on(given: str | Sequence[str]) -> Iterator[None]:
    """Calibrate and time on these providers; raises UsageError for one that isn't there."""
    token = _chosen.set(named(given))
    try:
        yield
    finally:
        _chosen.reset(token)
