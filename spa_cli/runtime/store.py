"""Arrays in memory as far as they fit, the rest in files of a temporary folder."""

from __future__ import annotations

import contextlib
import functools
import math
import weakref
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from spa_cli.staging import private


class Store:
    """Takes arrays; those beyond ``limit`` bytes go to files, which are gone when the store is.

    ``used``: bytes in memory now; ``spilled``: bytes that went to files so far.
    """

    def __init__(self, limit: float) -> None:
        self.limit, self.used = limit, 0
        self._folder: Path | None = None
        self._numbers = count()
        self.spilled = 0

    def put(self, value: Any) -> Kept:
        """Keep an array (or a list of them, which stays in memory)."""
        array = isinstance(value, np.ndarray) and value.dtype.kind != "O"
        if array and value.nbytes and self.used + value.nbytes > self.limit:
            try:
                return Kept(self, value, self._written(value))
            except OSError:
                # no room there either
                pass
        self.used += value.nbytes if array else 0
        return Kept(self, value)

    def _written(self, value: Any) -> Path:
        if self._folder is None:
            own = private()
            self._folder = own.path
            weakref.finalize(self, own.discard)
        file = self._folder / str(next(self._numbers))
        value.tofile(file)
        self.spilled += value.nbytes
        return file

    def __reduce__(self) -> tuple[Any, ...]:
        # elsewhere it is that of the process
        return _of_process, (self.limit,)

    def forget(self, size: int) -> None:
        """So many bytes of memory are free again."""
        self.used -= size


class Kept:
    """One array of a ``Store``."""

    def __init__(self, store: Store, value: Any, file: Path | None = None) -> None:
        self._store, self._file = store, file
        self._value = value if file is None else None
        self.shape: tuple[int, ...] = np.shape(value) if isinstance(value, np.ndarray) else ()
        self._dtype: Any = getattr(value, "dtype", None)

    def get(self) -> Any:
        """The array."""
        return self._value if self._file is None else np.fromfile(self._file, self._dtype).reshape(self.shape)

    def __reduce__(self) -> tuple[Any, ...]:
        # elsewhere there is no such file
        return _kept_again, (self._store.limit, self.get())

    def __sizeof__(self) -> int:
        return 64 + int(math.prod(self.shape) * getattr(self._dtype, "itemsize", 0))

    def __del__(self) -> None:
        # modules may be gone by then
        with contextlib.suppress(Exception):
            self.free()

    def free(self) -> None:
        """It is not needed any more."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
        elif isinstance(self._value, np.ndarray) and self._value.dtype.kind != "O":
            self._store.forget(self._value.nbytes)
        self._value = None


@functools.cache
def _of_process(limit: float) -> Store:
    return Store(limit)


def _kept_again(limit: float, value: Any) -> Kept:
    return _of_process(limit).put(value)
