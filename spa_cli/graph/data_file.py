"""A file of weights beside a model, written tensor by tensor, so that they are never all in memory."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.external_data_helper import set_external_data, uses_external_data

from spa_cli.graph.external import opened, region_of

# smaller tensors stay inside the model (the threshold of onnx's own converter)
_INSIDE = 1024
# what onnxruntime can map into memory starts on a page
_PAGE = 4096
_CHUNK = 1 << 26


class DataFile:
    """Takes over the bytes of tensors; they refer to the file from then on. ``folder``: where old files lie."""

    def __init__(self, path: Path, folder: str) -> None:
        self._path, self._folder, self._end = path, folder, 0
        self.taken: set[str] = set()

    def take(self, tensor: onnx.TensorProto) -> None:
        """Move the bytes of ``tensor`` (its own, or those of the file it refers to) into this file; raises OSError."""
        self.taken.add(tensor.name)
        if uses_external_data(tensor):
            self._copy(tensor)
        elif _bytes(tensor) > _INSIDE and tensor.data_type != onnx.TensorProto.STRING:
            if not tensor.HasField("raw_data"):
                raw = numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name)
                raw.doc_string = tensor.doc_string
                tensor.CopyFrom(raw)
            with self._path.open("ab") as file:
                start = self._begin(file)
                file.write(tensor.raw_data)
            self._refer(tensor, start, len(tensor.raw_data))

    def _copy(self, tensor: onnx.TensorProto) -> None:
        region = region_of(tensor)
        left = region.length
        with opened(region, self._folder) as old, self._path.open("ab") as new:
            start = self._begin(new)
            while left:
                chunk = old.read(min(left, _CHUNK))
                if not chunk:
                    raise OSError(f"'{region.location}' ends before the data of '{tensor.name}' does")
                new.write(chunk)
                left -= len(chunk)
        tensor.raw_data = b""  # set_external_data wants some
        self._refer(tensor, start, region.length)

    def _begin(self, file: IO[bytes]) -> int:
        """Where the next tensor starts: on a page."""
        start = -(-self._end // _PAGE) * _PAGE
        file.truncate(start)
        return start

    def _refer(self, tensor: onnx.TensorProto, start: int, length: int) -> None:
        set_external_data(tensor, self._path.name, start, length)
        tensor.ClearField("raw_data")
        self._end = start + length


def _bytes(tensor: onnx.TensorProto) -> int:
    return len(tensor.raw_data) or 4 * int(np.prod(tensor.dims, dtype=np.int64))
