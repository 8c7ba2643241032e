"""Writing a model so that nobody ever sees half of it."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from onnx.external_data_helper import uses_external_data

from spa_cli.atomic import refusing
from spa_cli.errors import UsageError
from spa_cli.graph.data_file import DataFile
from spa_cli.graph.external import INLINE_LIMIT, read_in
from spa_cli.graph.pair import data_name, put_model
from spa_cli.graph.parameters import inner_tensors
from spa_cli.graph.source import Source
from spa_cli.staging import born, private
from spa_cli.text import is_utf8


def check_writable(out: Path, source: Source, force: bool, alone: bool = False) -> None:
    """Refuse, before any work is done, an output that could not be written or would overwrite something.

    ``alone``: it is no model, whose weights may lie in a file beside it.
    """
    try:
        files = [out, out.with_name(data_name(out.name))] if source.external and not alone else [out]
        for file in files:
            _check_file(file, source, force)
    except OSError as error:
        raise UsageError(f"the output '{out}' can't be used: {error.strerror or error}; choose another name") from error
    if not alone and not is_utf8(out):
        raise UsageError(f"the name of the output '{out}' is not in UTF-8, which onnxruntime asks for; choose another")
    if not out.parent.is_dir():
        raise UsageError(f"the folder '{out.parent}' does not exist; create it first")
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"the folder '{out.parent}' can't be written to; choose another, or change its permissions")


def _check_file(file: Path, source: Source, force: bool) -> None:
    led = file.exists()
    if not led and not file.is_symlink():
        return
    if file.is_dir():
        raise UsageError(f"the output '{file}' is a folder; give a file name")
    # links as /dev/stdout must not be replaced either
    if (led and not file.is_file()) or any(file.absolute().is_relative_to(place) for place in ("/dev", "/proc")):
        raise UsageError(f"the output '{file}' is a device or a pipe; give a file name")
    if led and any(file.samefile(f) for f in (source.path, *source.data_files) if f is not None):
        raise UsageError(f"the output '{file}' is the input; choose another name")
    if not force:
        raise UsageError(f"the output '{file}' exists; use --force to replace it")


def place_model(model: Path, data: Path | None, out: Path, force: bool) -> None:
    """Put a finished model in place, with the file of its weights if it has one; raises UsageError if that fails."""
    with refusing(out, "output", "choose another name"):
        put_model(model, data, out, force)


class Staged:
    """A model written to a private folder, to be verified there and then put in place.

    ``data`` takes over weights before the model itself is written; they lie in a file of their own then. ``room``:
    about how many bytes it takes if it stays in one file, ``None`` if it does not. Raises UsageError if there is no
    such folder.
    """

    def __init__(self, name: str, folder: str, beside: Path | None, room: int | None = None) -> None:
        try:
            self._private = private(beside, room)
        except OSError as error:
            raise UsageError(
                f"the folder '{beside}' can't be written to: {error.strerror or error}; choose another for the output"
            ) from error
        self._root = self._private.path
        self.path, self._data = self._root / name, self._root / data_name(name)
        if beside is not None:
            born(self.path, beside)
            born(self._data, beside)
        self.data = DataFile(self._data, folder)

    def write(self, model: onnx.ModelProto, external: bool) -> None:
        """Write the model; ``external``: with its weights in the data file. Raises UsageError if that fails."""
        try:
            if external or model.ByteSize() > INLINE_LIMIT:
                self.take(model)
            onnx.save(model, str(self.path), format="protobuf")
        except OSError as error:
            raise UsageError(
                f"the result can't be written to '{self._root.parent}': {error.strerror or error}; "
                "free some space, or choose another folder"
            ) from error

    def take(self, model: onnx.ModelProto) -> None:
        """Move all weights of a model that are not there yet into the data file; raises OSError."""
        for tensor in model.graph.initializer:
            if tensor.name not in self.data.taken:
                self.data.take(tensor)
        for tensor in inner_tensors(model.graph):
            if uses_external_data(tensor):
                self.data.take(tensor)

    def read_into(self, model: onnx.ModelProto) -> None:
        """Bring the weights of a model that was written here back into memory."""
        read_in(model, str(self._root))

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(f.stat().st_size for f in self._root.iterdir())

    def publish(self, out: Path, force: bool) -> None:
        """Put in place, weights and model of one run; raises UsageError if that fails."""
        data = self._data if self._data.exists() and self._data.stat().st_size else None
        place_model(self.path, data, out, force)
        self.discard()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._private.discard()
