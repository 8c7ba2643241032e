"""Weights in files beside a model: where those may lie, what of them a tensor is, reading it.

onnx's own readers refuse every link and every file that has a second name; onnxruntime follows links, as long as they
stay with the model. So does this, and what is read later was looked at here first.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from spa_cli.errors import ModelError
from spa_cli.graph.stored import bytes_of, every_tensor, shares_bytes

# no waiting for whoever writes into a named pipe, no following of a link that was not there before
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
# protobuf refuses messages of 2 GiB; some room for nodes and names
INLINE_LIMIT = 1_900_000_000
# weights that are read into memory to run a model; what is more stays in its files, which onnxruntime maps
MAPPED = 500_000_000
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))


@dataclass(frozen=True)
class Beside:
    """Where the external data of a model lies: names of files are relative to ``folder``; ``files``: their real places.

    ``linked``: some are links, and the model's tensors name what those lead to instead.
    """

    folder: Path
    files: tuple[Path, ...] = ()
    bytes: int = 0
    linked: bool = False


@dataclass(frozen=True)
class Region:
    """What of a file is a tensor: ``length`` bytes from ``offset``."""

    location: str
    offset: int
    length: int


def find_beside(model: onnx.ModelProto, path: Path) -> Beside:
    """Where the external data of the model that ``path`` holds lies; every tensor in ``model`` then says its length.

    Raises ModelError for data outside of the model's folder (or of the cache that its links lead into), for what is no
    file, and for regions that don't lie in it or that are not as long as the tensor.
    """
    external = [(called, tensor) for called, tensor in every_tensor(model) if uses_external_data(tensor)]
    own = path.absolute().parent.resolve()
    allowed = folders_of(path.absolute())
    found: dict[str, Path] = {}
    sizes: dict[Path, int] = {}
    for called, tensor in external:
        location, offset, length = _said(called, tensor)
        if location not in found:
            found[location] = _place(called, location, own, allowed, path)
            sizes[found[location]] = _size(called, location, found[location], path)
        wanted = bytes_of(tensor)
        if length is not None and length != wanted:
            raise ModelError(
                f"tensor '{called}' of shape {list(tensor.dims)} takes {wanted} bytes, and is said to be {length} "
                f"bytes of '{location}'; export it again"
            )
        if offset + wanted > sizes[found[location]]:
            raise ModelError(
                f"the external data file '{location}' is too short for tensor '{called}': it has "
                f"{sizes[found[location]]} bytes, and {offset + wanted} are needed; download or copy it again"
            )
        _refer(tensor, Region(location, offset, wanted))
    linked = any(place != Path(os.path.normpath(own / location)) for location, place in found.items())
    if linked:
        own = Path(os.path.commonpath([place.parent for place in found.values()]))
        for _, tensor in external:
            region = region_of(tensor)
            real = found[region.location].relative_to(own).as_posix()
            _refer(tensor, Region(real, region.offset, region.length))
    return Beside(own, tuple(sizes), sum(sizes.values()), linked)


def folders_of(path: Path) -> list[Path]:
    """Folders that data may lie in: the model's own, that of the file it is a link to, the blobs of its cache.

    The last is how Hugging Face keeps what it downloads: ``snapshots/REVISION/model.onnx`` is a link into ``blobs``.
    """
    folders = [path.parent.resolve(), path.resolve().parent]
    caches = (folder.parent / "blobs" for folder in path.parents if folder.name == "snapshots")
    return [*folders, *(blobs.resolve() for blobs in caches if blobs.is_dir())]


def _said(called: str, tensor: onnx.TensorProto) -> tuple[str, int, int | None]:
    """Location, offset and length that the file gives for a tensor."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    location = said.get("location", "")
    if not location or "\0" in location:
        raise ModelError(
            f"tensor '{called}' is said to lie in an external file, and none is named; export the model again"
        )
    if tensor.data_type == onnx.TensorProto.STRING:
        raise ModelError(f"tensor '{called}' is text in an external file, which can't be read; keep it in the model")
    for key in ("offset", "length"):
        # int() would take signs, spaces and underscores, which onnxruntime does not
        if key in said and not (said[key].isascii() and said[key].isdecimal()):
            raise ModelError(
                f"tensor '{called}' has {key} '{said[key]}' in its external file, which is no number of bytes; "
                "export the model again"
            )
    return location, int(said.get("offset", 0)), int(said["length"]) if "length" in said else None


def _place(called: str, location: str, own: Path, allowed: Iterable[Path], path: Path) -> Path:
    """The real file that a location means."""
    absolute = os.path.isabs(location) or PureWindowsPath(location).is_absolute()
    inside = not absolute and Path(os.path.normpath(own / location)).is_relative_to(own)
    try:
        # links that lead round in a circle are a RuntimeError or an OSError, by the version of Python
        place = (own / location).resolve() if inside else own
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"the external data file '{location}' of tensor '{called}' is a link that leads nowhere; put the file there"
        ) from error
    if not inside:
        raise ModelError(
            f"tensor '{called}' points outside the model's folder ('{location}'), where nothing is read; "
            "save the model with its data beside it"
        )
    if not any(place.is_relative_to(folder) for folder in allowed):
        raise ModelError(
            f"the external data file '{location}' of tensor '{called}' is a link that leads outside the model's folder"
            ", where nothing is read; put the file itself there"
        )
    return place


def _size(called: str, location: str, place: Path, path: Path) -> int:
    """Bytes of a file that a tensor lies in, by its entry alone: nothing that is no file is opened."""
    try:
        found = place.stat()
    except FileNotFoundError as error:
        real, own = path.resolve(), path.absolute().parent.resolve()
        if real.parent != own and (real.parent / location).exists():
            raise ModelError(
                f"the external data file '{location}' of tensor '{called}' is not beside the link '{path}'; "
                f"give the file that it leads to, '{real}'"
            ) from error
        raise ModelError(
            f"the external data file '{location}' of tensor '{called}' is missing; put it in '{own}'"
        ) from error
    except OSError as error:
        raise _unreadable(called, location, error) from error
    if not stat.S_ISREG(found.st_mode):
        what = next((word for holds, word in _KINDS if holds(found.st_mode)), "a device")
        raise ModelError(
            f"the external data file '{location}' of tensor '{called}' is {what}; put the file there that was exported"
        )
    if not os.access(place, os.R_OK):
        raise _unreadable(called, location, PermissionError(13, "Permission denied"))
    return found.st_size


def _unreadable(called: str, location: str, error: OSError) -> ModelError:
    return ModelError(
        f"the external data file '{location}' of tensor '{called}' can't be read: {error.strerror or error}; "
        "check the file and its permissions"
    )


def _refer(tensor: onnx.TensorProto, region: Region) -> None:
    said = {entry.key: entry.value for entry in tensor.external_data}
    said |= {"location": region.location, "offset": str(region.offset), "length": str(region.length)}
    del tensor.external_data[:]
    for key, value in said.items():
        tensor.external_data.add(key=key, value=value)


# -- reading ----------------------------------------------------------------------------------------------------------


def region_of(tensor: onnx.TensorProto) -> Region:
    """Where a tensor lies that ``find_beside`` has looked at, or that was written here."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    return Region(said["location"], int(said.get("offset", 0)), int(said["length"]))


def opened(region: Region, folder: str) -> IO[bytes]:
    """The file of a region, at its start; raises OSError, also if it is no file (any more)."""
    file = os.fdopen(os.open(Path(folder) / region.location, _FLAGS), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"'{region.location}' is no file")
    file.seek(region.offset)
    return file


def array_of(tensor: onnx.TensorProto, folder: str) -> NDArray[Any]:
    """Values of a tensor, from its file in ``folder`` if need be.

    Raises ValueError if they don't fill its shape, ModelError if the file can't be read (any more).
    """
    if not uses_external_data(tensor):
        return numpy_helper.to_array(tensor)
    data = _read(tensor, folder)
    if shares_bytes(tensor):
        return numpy_helper.to_array(onnx.TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=data))
    # no copy of it is made
    return np.frombuffer(data, helper.tensor_dtype_to_np_dtype(tensor.data_type)).reshape(tensor.dims)


def put(tensor: onnx.TensorProto, folder: str, array: NDArray[Any]) -> None:
    """Other values of the same type and shape in the place of a tensor's, in its file; raises OSError."""
    region, data = region_of(tensor), array.tobytes()
    assert len(data) == region.length
    with os.fdopen(os.open(Path(folder) / region.location, _FLAGS | os.O_WRONLY), "wb") as file:
        file.seek(region.offset)
        file.write(data)


def read_in(model: onnx.ModelProto, folder: str) -> None:
    """Bring the external data of a model into it."""
    for _, tensor in every_tensor(model):
        if uses_external_data(tensor):
            tensor.raw_data = _read(tensor, folder)
            tensor.ClearField("data_location")
            del tensor.external_data[:]


def _read(tensor: onnx.TensorProto, folder: str) -> bytes:
    region = region_of(tensor)
    try:
        with opened(region, folder) as file:
            return file.read(region.length)
    except OSError as error:
        raise _unreadable(tensor.name, region.location, error) from error
    except MemoryError as error:
        raise ModelError(
            f"tensor '{tensor.name}' takes {region.length} bytes, which do not fit into memory; "
            "use a machine with more of it"
        ) from error
