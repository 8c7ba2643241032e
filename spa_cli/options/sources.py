"""Where samples come from: a path, a function, or the samples themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from spa_cli.errors import OptionError

_FUNCTION = re.compile(r"(.+\.py|[^\W\d][\w.]*):[^\W\d]\w*")


class ArrayLike(Protocol):
    """What NumPy can make an array of: its own, tensors of PyTorch, TensorFlow and JAX, tables of pandas."""

    def __array__(self) -> Any:
        """As an array."""


class Indexed(Protocol):
    """A data set whose samples are numbered, as ``torch.utils.data.Dataset`` has it."""

    def __getitem__(self, index: int, /) -> Any:
        """One sample."""


SampleData: TypeAlias = (
    str | os.PathLike[str] | Callable[[], Any] | Mapping[str, Any] | ArrayLike | Iterable[Any] | Indexed
)


@dataclass(frozen=True, eq=False)
class InMemory:
    """Samples that a program has: an array, a dict of arrays by input, or an iterable of samples or batches of either.

    As text it is what it is called in a message.
    """

    value: Any

    def __str__(self) -> str:
        shape = getattr(self.value, "shape", None)
        return type(self.value).__name__ + (f" {tuple(shape)}" if shape is not None else "")

    def same_as(self, other: Any) -> bool:
        """Whether these are the very same samples."""
        return isinstance(other, InMemory) and other.value is self.value

    @property
    def once(self) -> bool:
        """Whether it is used up by being read."""
        return isinstance(self.value, Iterator)

    @property
    def fleeting(self) -> bool:
        """Whether it may give something else the next time, as a loader that shuffles."""
        return not (isinstance(self.value, Mapping | list | tuple) or hasattr(self.value, "__array__"))


SampleSource: TypeAlias = Path | Callable[[], Any] | InMemory


def samples(given: SampleData | None) -> SampleSource | None:
    """A path, the function that gives samples, or samples; raises UsageError where it is none of these."""
    if given is None or isinstance(given, InMemory):
        return given
    if isinstance(given, str | os.PathLike):
        return Path(given)
    if hasattr(given, "__array__") or isinstance(given, Iterable) or hasattr(type(given), "__getitem__"):
        # some loaders can be called, too
        return InMemory(given)
    if callable(given):
        return given
    raise OptionError(
        f"samples can't be taken from {given!r}; give a path, an array, a dict of arrays, an iterable of samples or "
        "batches, or a function that gives one of them"
    )


def names_function(text: str) -> bool:
    """Whether this is ``module:function`` or ``path/to/file.py:function``."""
    return _FUNCTION.fullmatch(text) is not None
