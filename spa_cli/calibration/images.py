"""Samples in a folder of images, with the sub-folders as classes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from spa_cli.calibration.check import samples_of
from spa_cli.calibration.pixels import ImageInput, of_modest_size, pillow
from spa_cli.calibration.reading import Reading
from spa_cli.calibration.samples import Samples, part, spread
from spa_cli.errors import UsageError
from spa_cli.graph.model import Array, Graph

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
# to tell a size that images have in common from sizes of their own
LOOKED_AT = 64
Found = TypeVar("Found")


def image_files(path: Path) -> list[Path]:
    """Every image under a folder in the order of paths, or the one image itself; nothing hidden."""
    return sorted(_walk(path)) if path.is_dir() else [path]


def _walk(folder: Path) -> Iterator[Path]:
    seen = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        # a link may lead back to where it lies
        seen.add(os.path.realpath(here))
        folders[:] = [f for f in folders if not f.startswith(".") and os.path.realpath(Path(here, f)) not in seen]
        yield from (Path(here, f) for f in files if f.lower().endswith(SUFFIXES) and not f.startswith("."))


def read_images(path: Path, graph: Graph, reading: Reading, limit: int | None) -> Samples:
    """At most ``limit`` images, evenly spread over the folder. Labels: the position of an image's sub-folder of
    ``path`` among all of them, sorted, as PyTorch's ImageFolder has it; none where there are fewer than two.

    Raises UsageError without Pillow, for an image that can't be read, and for a model that takes no images.
    """
    target = ImageInput.of(graph, reading)
    files = image_files(path)
    library = pillow()
    some = [files[at] for at in spread(len(files), LOOKED_AT)]
    size = target.sized([_with(library, file, lambda image: image.size) for file in some], graph)
    bytes_each = size[0] * size[1] * target.channels * np.dtype(np.float32).itemsize
    chosen = [files[at] for at in spread(len(files), limit, bytes_each)]
    data = {target.name: np.stack([_with(library, f, lambda image: target.array(image, size)) for f in chosen])}
    about = f"{path} ({part(len(chosen), len(files), 'images')}, {size[0]}x{size[1]})"
    return samples_of(data, graph, str(path), about, _labels(path, chosen))


def _with(library: Any, file: Path, use: Callable[[Any], Found]) -> Found:
    with of_modest_size() as unreadable:
        try:
            with library.open(file) as image:
                return use(image)
        except unreadable as error:
            raise UsageError(f"the image '{file}' can't be read ({error}); mend it or take it out") from error


def _labels(path: Path, files: list[Path]) -> Array | None:
    if not path.is_dir():
        return None
    classes = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    inside = [file.relative_to(path).parts for file in files]
    if len(classes) < 2 or any(len(parts) < 2 for parts in inside):
        return None
    return np.array([classes.index(parts[0]) for parts in inside])
