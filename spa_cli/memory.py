"""How much memory there is to work in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

# what a machine is taken to have that does not say
_UNKNOWN = 8_000_000_000
# what may be used of it: the rest is for the model, onnxruntime and what else the machine does
_SHARE = 4
# what any machine has to spare
_LITTLE = 64_000_000
# limits of the container (control groups, version 2 and 1)
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


_asked: ContextVar[int | None] = ContextVar("memory", default=None)
_sharing: ContextVar[int] = ContextVar("sharing", default=1)


@contextlib.contextmanager
def allowing(size: int | None) -> Iterator[None]:
    """Take so many bytes for samples and activations (``None``: what the machine suggests)."""
    token = _asked.set(size)
    try:
        yield
    finally:
        _asked.reset(token)


@contextlib.contextmanager
def sharing(count: int) -> Iterator[None]:
    """So many processes take what there is together."""
    token = _sharing.set(count)
    try:
        yield
    finally:
        _sharing.reset(token)


def working_memory() -> int:
    """Bytes that samples and their activations may take: a quarter of the machine's memory, or of the container's."""
    return max(1, (_asked.get() or _suggested()) // _sharing.get())


def portion(share: float) -> float:
    """Bytes of it that one of many things may take; what is little is never what makes the result another."""
    return max(share * working_memory(), _LITTLE)


def _suggested() -> int:
    return whole_memory() // _SHARE


def whole_memory() -> int:
    """Bytes of the machine's memory, of the container's, or that this process may take."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        # no POSIX
        total = _UNKNOWN
    return min([total, *filter(None, map(_limit, _LIMITS)), *_allowed("RLIMIT_AS", "RLIMIT_DATA")])


def limited() -> int | None:
    """Bytes that the user allows this process (``ulimit -v``), ``None`` where nothing is said; native code that gets
    none ends it.
    """
    return next(iter(_allowed("RLIMIT_AS")), None)


def _allowed(*names: str) -> list[int]:
    """Bytes that limits of this process allow, of those that there are."""
    try:
        import resource
    except ImportError:
        # no POSIX
        return []
    soft = [resource.getrlimit(getattr(resource, name))[0] for name in names if hasattr(resource, name)]
    return [limit for limit in soft if limit != resource.RLIM_INFINITY]


def more_than_fits() -> str:
    """What samples take that don't fit, for a message."""
    why = "what --memory allows" if _asked.get() else "a quarter of this machine's memory"
    return f"more than {working_memory() / 1e9:.1f} GB, {why}"


def _limit(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        # no such control group, or "max"
        return None
