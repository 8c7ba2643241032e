"""Writing a model so that nobody ever sees half of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import onnx
from onnx.external_data_helper import convert_model_to_external_data, load_external_data_for_model

from spa_cli.errors import UsageError

# protobuf refuses messages of 2 GiB; some room for nodes and names
_INLINE_LIMIT = 1_900_000_000


def check_writable(out: Path, source: Path | None, force: bool) -> None:
    """Refuse, before any work is done, an output that could not be written or would overwrite something."""
    if source is not None and out.exists() and out.samefile(source):
        raise UsageError(f"the output '{out}' is the input; choose another name")
    if out.is_dir():
        raise UsageError(f"the output '{out}' is a folder; give a file name")
    if out.exists() and not force:
        raise UsageError(f"the output '{out}' exists; use --force to replace it")
    if not out.parent.is_dir():
        raise UsageError(f"the folder '{out.parent}' does not exist; create it first")
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"the folder '{out.parent}' can't be written to")


class Staged:
    """A model written to a private folder beside its destination, to be verified there and then moved."""

    def __init__(self, model: onnx.ModelProto, name: str, folder: str, beside: Path | None, external: bool) -> None:
        self._root = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=beside))
        self.path = self._root / name
        if external or model.ByteSize() > _INLINE_LIMIT:
            load_external_data_for_model(model, folder)
            convert_model_to_external_data(model, all_tensors_to_one_file=True, location=f"{name}.data")
        onnx.save(model, str(self.path))

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(f.stat().st_size for f in self._root.iterdir())

    def publish(self, out: Path) -> None:
        """Move into place: weights first, so that the model never names a file that isn't there."""
        for file in sorted(self._root.iterdir(), key=lambda f: f == self.path):
            os.replace(file, out.parent / file.name)
        self.discard()

    def discard(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self._root, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
