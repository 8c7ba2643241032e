"""Named tensors as a weights file holds them, and what can be said about their types."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from spa_cli.graph.model import Array


@dataclass(frozen=True, eq=False)
class Weights:
    """Tensors by key, in the order of the file.

    ``metadata`` is the text safetensors keeps beside them, ``checkpoint`` what PyTorch read (with everything that is
    no tensor), ``place`` the keys that lead to the state dict inside it. ``storage`` tells tensors that share their
    memory (PyTorch knows; empty where the format doesn't say). ``changed`` are the keys that were replaced.
    ``compression`` is that of a .npz file (``zipfile``'s number). ``rebuild`` gives what a framework loads, where that
    is more than arrays.
    """

    name: str
    tensors: dict[str, Array]
    path: Path | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    checkpoint: Any = None
    place: tuple[str, ...] = ()
    storage: dict[str, object] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    compression: int = 0
    rebuild: Callable[[Weights], Any] | None = None

    @property
    def elements(self) -> int:
        """How many numbers there are."""
        return sum(t.size for t in self.tensors.values())

    def with_cut(self, new: Mapping[str, Array]) -> Weights:
        """The same, with these tensors replaced: by smaller ones, or by others."""
        tensors = {key: new.get(key, old) for key, old in self.tensors.items()}
        return dataclasses.replace(self, tensors=tensors, changed=self.changed | frozenset(new))

    @property
    def state(self) -> Any:
        """What a framework loads: the checkpoint with PyTorch's tensors where they came from there, else arrays."""
        return dict(self.tensors) if self.rebuild is None else self.rebuild(self)


def epsilon(dtype: np.dtype[Any]) -> float | None:
    """The rounding error of a real floating point type (those of ml_dtypes included), ``None`` for other types."""
    if dtype.kind == "c":
        return None
    # ml_dtypes declares a class for static types and makes another one
    finfo: Any = ml_dtypes.finfo
    try:
        return float(finfo(dtype).eps)
    except ValueError:
        return None


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether a type is a real floating point type."""
    return epsilon(dtype) is not None


def is_number(dtype: np.dtype[Any]) -> bool:
    """Whether a type is one that an initializer with weights may have."""
    return is_float(dtype) or dtype.kind in "biu"


def is_extended(dtype: np.dtype[Any]) -> bool:
    """Whether a type is one of ml_dtypes, which numpy's own files can't name."""
    return dtype.type.__module__.startswith("ml_dtypes")


def comparable(a: np.dtype[Any], b: np.dtype[Any]) -> bool:
    """Whether values of one type can be those of the other, cast by an exporter."""
    return a == b or (is_float(a) and is_float(b))


def bits(array: Array, dtype: np.dtype[Any] | None = None) -> Array:
    """The values, cast to ``dtype``, as unsigned integers of the same shape: equal where they are bitwise equal."""
    with np.errstate(all="ignore"):
        cast = np.ascontiguousarray(array if dtype is None else array.astype(dtype, copy=False))
    # ascontiguousarray makes a scalar one-dimensional
    return cast.view(f"u{cast.dtype.itemsize}").reshape(array.shape)


def is_constant(array: Array) -> bool:
    """Whether all values are the same (nothing can be told by such values)."""
    flat = array.reshape(-1)
    return not flat.size or bool((flat == flat[0]).all())
