"""Weights files, by suffix: reading, and writing so that nobody ever sees half of one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from spa_cli.atomic import replacing
from spa_cli.errors import UsageError
from spa_cli.weights.tensors import Weights

SUFFIXES = (".safetensors", ".npz", ".pt", ".pth", ".bin")
_OF_TORCH = SUFFIXES[2:]


def _format(path: Path) -> ModuleType:
    """The module for a suffix; imported when used, because safetensors and torch are optional."""
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        from spa_cli.weights import safetensors_file

        return safetensors_file
    if suffix == ".npz":
        from spa_cli.weights import npz_file

        return npz_file
    if suffix in _OF_TORCH:
        from spa_cli.weights import torch_file

        return torch_file
    raise UsageError(f"'{path}' is no weights file; its name has to end in {', '.join(SUFFIXES)}")


def read(path: Path) -> Weights:
    """Read a weights file.

    Raises UsageError if it is missing, unreadable, holds no tensors, or needs a library that isn't installed.
    """
    module = _format(path)
    if not path.is_file():
        raise UsageError(f"there is no weights file '{path}'; give a {path.suffix} file")
    try:
        weights: Weights = module.read(path)
    except OSError as error:
        raise UsageError(
            f"the weights '{path}' can't be read: {error.strerror or error}; check its permissions"
        ) from error
    if not weights.tensors:
        raise UsageError(f"the weights file '{path}' holds no tensors; save the model's parameters in it")
    return weights


def of_mapping(tensors: Mapping[str, Any]) -> Weights:
    """Weights given from memory: arrays, or the tensors of PyTorch. Raises UsageError if there are none."""
    if not tensors:
        raise UsageError("the weights hold no tensors; give a file or a mapping of names to arrays")
    if any(type(t).__module__.partition(".")[0] == "torch" for t in tensors.values()):
        from spa_cli.weights.torch_file import of_checkpoint

        return of_checkpoint(tensors, "the weights", None)
    return Weights("the weights", {key: np.asarray(t) for key, t in tensors.items()})


def check_output(out: Path, inputs: list[Path], force: bool) -> None:
    """Refuse with a UsageError, before any work is done, an output that can't be written or would replace something."""
    _format(out)
    try:
        exists = out.exists()
        if exists and out.is_dir():
            raise UsageError(f"the output '{out}' is a folder; give a file name")
        if exists and any(out.samefile(i) for i in inputs if i.exists()):
            raise UsageError(f"the output '{out}' is an input; choose another name")
    except OSError as error:
        raise UsageError(f"the output '{out}' can't be used: {error.strerror or error}; choose another name") from error
    if os.path.lexists(out) and not force:
        raise UsageError(f"the output '{out}' exists; use --force to replace it")
    if not out.parent.is_dir():
        raise UsageError(f"the folder '{out.parent}' does not exist; create it first")
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"the folder '{out.parent}' can't be written to; choose another, or change its permissions")


def write(weights: Weights, out: Path, force: bool = False) -> list[str]:
    """Write to a private folder and move into place; gives warnings about what the format can't hold.

    ``force``: also of what is there.

    Raises UsageError if the file can't be written or the format can't hold a tensor.
    """
    module, warnings = _format(out), _lost(weights, out.suffix.lower())
    size = sum(t.nbytes for t in weights.tensors.values())
    with replacing(out, "output", "choose another name", force=force, room=size) as place:
        module.write(weights, place)
    return warnings


def _lost(weights: Weights, suffix: str) -> list[str]:
    """What a format has no place for, and what does not fit the smaller tensors any more."""
    warnings, left = [], sorted(set(weights.metadata) - {"format"})
    if left and suffix != ".safetensors":
        warnings.append(f"the metadata {_listed(left)} were left out, {suffix} has no place for them")
    if weights.checkpoint is None:
        return warnings
    from spa_cli.weights.checkpoint import left_out, stale
    from spa_cli.weights.torch_file import library

    checkpoint, place, kind = weights.checkpoint, weights.place, library().Tensor
    if suffix in _OF_TORCH:
        return warnings + stale(checkpoint, place, kind)
    if rest := left_out(checkpoint, place, weights.tensors, kind):
        warnings.append(f"what is no tensor was left out, {suffix} has no place for it: {_listed(rest)}")
    return warnings


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{n}'" for n in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
