"""Constants that are stored more than once."""

from __future__ import annotations

import onnx

from spa_cli.graph.external import array_of
from spa_cli.tidy.draft import Draft, remove

_ARITHMETIC = (onnx.TensorProto.INT64, onnx.TensorProto.BOOL)


def merge_repeats(draft: Draft) -> int:
    """Lists of sizes or positions, and single numbers, of the same bytes are stored once.

    Weights stay apart: layers that share one lose the same channels, and would be repaired together.
    """
    names: dict[str, str] = {}
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    for name, tensor in draft.constants.items():
        # what has more axes than one may have one of channels
        listed = tensor.data_type in _ARITHMETIC and len(tensor.dims) == 1
        numbers = listed or (not tensor.dims and tensor.data_type != onnx.TensorProto.STRING)
        if name in draft.outputs or not numbers or not draft.is_read(name):
            continue
        key = (tensor.data_type, tuple(tensor.dims), array_of(tensor, draft.folder).tobytes())
        if first.setdefault(key, name) != name:
            names[name] = first[key]
    draft.drop(draft.producers[name] for name in names if name in draft.producers)
    stored = draft.graph.initializer
    remove(stored, [at for at, tensor in enumerate(stored) if tensor.name in names])
    draft.rename(names)
    return len(names)
