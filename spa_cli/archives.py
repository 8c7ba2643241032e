"""NumPy's archives: what is told of one before it is unpacked, and all that can be wrong with it."""

from __future__ import annotations

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Container
from pathlib import Path
from typing import IO

import numpy as np

from spa_cli.errors import UsageError, first_line
from spa_cli.memory import whole_memory

# what reading raises: of NumPy, of the archive (also where it is encrypted), of what packed it, and of its sizes
UNREADABLE = (
    *(OSError, ValueError, EOFError, TypeError, AttributeError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, LookupError, SyntaxError, tokenize.TokenError),
)


def why_unread(error: BaseException) -> str:
    """What an error of ``UNREADABLE`` says; where NumPy's would invite to unpickle the file, what that is instead."""
    said = first_line(error)
    if "pickle" not in said:
        return said
    return "it holds objects of Python" if said.startswith("Object arrays") else "it is no file of NumPy"


def check_unpacked(file: Path, unread: Container[str] = ()) -> None:
    """Before any of it is read: raises UsageError for an archive that unpacks to more than the machine's memory.

    And for arrays that are larger than the bytes there are for them.

    ``unread``: names of arrays that nobody will read. What is no archive or array passes: whoever reads it says so.
    """
    if not zipfile.is_zipfile(file):
        with file.open("rb") as stream:
            _check_array(stream, file.stat().st_size, str(file))
        return
    with zipfile.ZipFile(file) as archive:
        members = [m for m in archive.infolist() if m.filename.removesuffix(".npy") not in unread]
        unpacked = sum(m.file_size for m in members)
        if unpacked > whole_memory():
            raise UsageError(
                f"'{file}' unpacks to {unpacked / 1e9:.3g} GB, more than the {whole_memory() / 1e9:.3g} GB of memory "
                "that there are; give an archive of fewer or smaller arrays"
            )
        for member in members:
            with archive.open(member) as packed:
                _check_array(packed, member.file_size, f"{file}' at '{member.filename}")


def _check_array(stream: IO[bytes], size: int, where: str) -> None:
    """NumPy makes room for what the header says before it looks for the numbers."""
    begin = stream.read(8)
    if begin[:6] != b"\x93NUMPY":
        return
    # later versions differ from the second in the letters of names only
    read = np.lib.format.read_array_header_1_0 if begin[6] == 1 else np.lib.format.read_array_header_2_0
    shape, _, kind = read(stream)
    if not kind.hasobject and math.prod(shape) * kind.itemsize > size - stream.tell():
        raise UsageError(
            f"'{where}' says that it holds {'x'.join(map(str, shape))} numbers, for which it is too short; save it "
            "again with numpy.save or numpy.savez"
        )
