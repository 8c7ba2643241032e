"""NumPy's archives: what is told of one before it is unpacked, and all that can be wrong with it."""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Container
from pathlib import Path

from spa_cli.errors import UsageError
from spa_cli.memory import whole_memory

# what reading raises: of NumPy, of the archive (also where it is encrypted), of what packed it, and of its sizes
UNREADABLE = (
    *(OSError, ValueError, EOFError, TypeError, AttributeError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, LookupError, SyntaxError, tokenize.TokenError),
)


def check_unpacked(file: Path, unread: Container[str] = ()) -> None:
    """Before any of it is read: raises UsageError for an archive that unpacks to more than the machine's memory.

    ``unread``: names of arrays that nobody will read. What is no archive passes: whoever reads it says so.
    """
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(m.file_size for m in archive.infolist() if m.filename.removesuffix(".npy") not in unread)
    if unpacked > whole_memory():
        raise UsageError(
            f"'{file}' unpacks to {unpacked / 1e9:.3g} GB, more than the {whole_memory() / 1e9:.3g} GB of memory that "
            "there are; give an archive of fewer or smaller arrays"
        )
