"""Weights in PyTorch's files: a state dict, alone or inside a checkpoint."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from spa_cli.errors import UsageError
from spa_cli.extras import extra
from spa_cli.graph.model import Array
from spa_cli.weights.checkpoint import find, inside, put
from spa_cli.weights.tensors import Weights, is_extended

_EXTENDED = {
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
}


def library() -> ModuleType:
    """PyTorch; raises UsageError if it isn't installed."""
    torch: ModuleType = extra("torch", "reading and writing PyTorch's files needs PyTorch", "torch")
    return torch


def read(path: Path) -> Weights:
    """The state dict of a file, read without running code from it; raises UsageError if there is none."""
    torch = library()
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"'{path}' holds more than PyTorch reads without running code from it; "
            "save model.state_dict() alone and give that"
        ) from error
    except OSError:
        raise
    except Exception as error:
        # bytes that are something else make the unpickler raise whatever comes
        raise UsageError(f"'{path}' is not a file of torch.save, or is cut short; save it again") from error
    return of_checkpoint(checkpoint, path.name, path)


def of_checkpoint(checkpoint: Any, name: str, path: Path | None) -> Weights:
    """The tensors of a state dict, wherever it lies in ``checkpoint``; raises UsageError if it can't be found."""
    torch = library()
    place = find(checkpoint, torch.Tensor)
    if place is None:
        raise UsageError(f"'{name}' holds no state dict that could be told from others; save model.state_dict() alone")
    found = inside(checkpoint, place)
    tensors, storage = dict[str, Array](), dict[str, object]()
    for key, tensor in found.items():
        array = _to_array(torch, tensor) if isinstance(tensor, torch.Tensor) else None
        if array is not None:
            tensors[key] = array
            storage[key] = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
    return Weights(name, tensors, path, checkpoint=checkpoint, place=place, storage=storage, rebuild=rebuilt)


def _to_array(torch: ModuleType, tensor: Any) -> Array | None:
    """A view of a dense tensor's values; ``None`` for sparse, quantised and other unusual ones."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        return None
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    kind = _EXTENDED.get(str(plain.dtype).removeprefix("torch."))
    try:
        if kind is None:
            return np.asarray(plain.numpy())
        wide = torch.int16 if plain.element_size() == 2 else torch.uint8
        return np.asarray(plain.view(wide).numpy().view(kind))
    except TypeError:
        return None


def _to_tensor(torch: ModuleType, array: Array) -> Any:
    own = np.array(array, order="C", copy=True).reshape(array.shape)
    try:
        if not is_extended(own.dtype):
            return torch.from_numpy(own.astype(own.dtype.newbyteorder("="), copy=False))
        wide = np.int16 if own.dtype.itemsize == 2 else np.uint8
        return torch.from_numpy(own.view(wide)).view(getattr(torch, own.dtype.name))
    except (TypeError, AttributeError) as error:
        raise UsageError(f"PyTorch has no type for {array.dtype.name}; write another format") from error


def rebuilt(weights: Weights) -> Any:
    """The checkpoint with the cut tensors in it; order, other entries and shared memory stay as they were."""
    torch = library()
    if weights.checkpoint is None:
        return OrderedDict((key, _to_tensor(torch, t)) for key, t in weights.tensors.items())
    old = inside(weights.checkpoint, weights.place)
    new, shared = copy.copy(old), dict[object, tuple[str, Any]]()
    for key in old:
        if key not in weights.changed:
            continue
        array, place = weights.tensors[key], weights.storage[key]
        first, tensor = shared.get(place, (key, None))
        if tensor is None or not np.array_equal(weights.tensors[first], array):
            tensor = _to_tensor(torch, array).to(old[key].device).requires_grad_(old[key].requires_grad)
            if isinstance(old[key], torch.nn.Parameter):
                tensor = torch.nn.Parameter(tensor, requires_grad=old[key].requires_grad)
            shared[place] = key, tensor
        new[key] = tensor
    return put(weights.checkpoint, weights.place, new)


def write(weights: Weights, path: Path) -> None:
    """Write the checkpoint, or a plain state dict if the weights come from another format."""
    library().save(rebuilt(weights), path)
