"""One picture as the array that a model's image input takes."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spa_cli.analysis import fitting
from spa_cli.calibration.reading import Reading
from spa_cli.errors import OptionError, UsageError
from spa_cli.extras import extra
from spa_cli.graph.model import Array, Graph
from spa_cli.runtime.inputs import input_dims, input_dtype

# Pillow's name of what a model with so many channels sees
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# of borders: what YOLO and its kin pad with
_GREY = 114


def pillow() -> Any:
    """Pillow's Image; raises UsageError without the extra."""
    extra("PIL.ImageOps", "images need Pillow", "pillow")
    return extra("PIL.Image", "images need Pillow", "pillow")


@contextlib.contextmanager
def of_modest_size() -> Iterator[tuple[type[BaseException], ...]]:
    """What Pillow raises of a picture that can't be read; one of 90 million pixels is none, however small its file."""
    library = pillow()
    with warnings.catch_warnings():
        warnings.simplefilter("error", library.DecompressionBombWarning)
        yield OSError, ValueError, SyntaxError, library.DecompressionBombError, library.DecompressionBombWarning


@dataclass(frozen=True)
class ImageInput:
    """The one input of a model that takes images, and how they are prepared for it.

    ``axes``: "nchw", "nhwc", or "nhw" for grey images without an axis of channels. ``size``: height and width, 0 where
    the model leaves them free.
    """

    name: str
    channels: int
    axes: str
    size: tuple[int, int]
    dtype: type
    reading: Reading

    @staticmethod
    def of(graph: Graph, reading: Reading) -> ImageInput:
        """Raises UsageError for a model that takes no images, or not only one, or options that don't fit it."""
        if len(graph.inputs) != 1:
            raise UsageError(
                f"images serve a model with one input, this one has {', '.join(graph.inputs)}; give an .npz with an "
                "array for each"
            )
        ((name, info),) = graph.inputs.items()
        dims = input_dims(info) or []
        axes = _axes(name, dims, reading.layout)
        declared = dims[axes.index("c")] if "c" in axes else 1
        channels = declared if isinstance(declared, int) else 3
        if channels not in _MODES:
            raise UsageError(f"input '{name}' has {channels} channels, images have 1, 3 or 4; give an .npz")
        given = dict(reading.input_shape).get(name, ())
        sizes = [
            next((d for d in (dims[a], *given[a : a + 1]) if isinstance(d, int)), 0) for a in map(axes.index, "hw")
        ]
        dtype = input_dtype(info.type.tensor_type.elem_type)
        if dtype in (np.int8, np.bool_):
            raise UsageError(f"input '{name}' is of type {dtype.__name__}, which holds no pixels; give an .npz")
        if np.issubdtype(dtype, np.integer) and (reading.normalises or reading.image_range != 1):
            raise UsageError(
                f"input '{name}' takes pixels from 0 to 255 as they are; leave --mean, --std and --image-range out"
            )
        for flag, values in (("--mean", reading.mean), ("--std", reading.std)):
            if len(values) not in (1, channels):
                raise OptionError(
                    f"{flag} has {len(values)} values, input '{name}' has {channels} channels; give one or as many"
                )
        return ImageInput(name, channels, axes, (sizes[0], sizes[1]), dtype, reading)

    def sized(self, sizes: Sequence[tuple[int, int]], graph: Graph) -> tuple[int, int]:
        """(height, width) to bring images of such (width, height) to.

        The model's or the user's; where it is free the one they have in common, if the model takes that, or the one the
        model is analysed at.
        """
        if all(self.size):
            return self.size
        height, width = (self.axes.index(axis) for axis in "hw")
        found = fitting(graph, dict(self.reading.input_shape))
        shape = found.shapes[self.name]
        if len(set(sizes)) == 1:
            common = list(shape)
            common[height], common[width] = self.size[0] or sizes[0][1], self.size[1] or sizes[0][0]
            if fitting(graph, {**found.shapes, self.name: tuple(common)}).misfits <= found.misfits:
                shape = tuple(common)
        return shape[height], shape[width]

    def array(self, image: Any, size: tuple[int, int]) -> Array:
        """A Pillow image in the model's size (``--fit``), its pixels in the model's order and range."""
        if image.mode == "F":
            raise ValueError("its pixels are floating-point numbers; give an .npz")
        if image.mode.startswith("I"):
            # 16 bits a pixel: Pillow would clip instead of scale
            image = pillow().fromarray((np.asarray(image) / 257).clip(0, 255).astype(np.uint8))
        image = image.convert(_MODES[self.channels])
        image = _FITTED[self.reading.fit](image, (size[1], size[0]))
        pixels = np.asarray(image).reshape(*size, self.channels)
        if self.reading.color == "bgr" and self.channels >= 3:
            pixels = pixels[..., [2, 1, 0, *range(3, self.channels)]]
        if np.issubdtype(self.dtype, np.floating):
            scaled = pixels.astype(np.float32) / np.float32(255 / self.reading.image_range)
            pixels = (scaled - np.array(self.reading.mean, np.float32)) / np.array(self.reading.std, np.float32)
        if self.axes == "nchw":
            pixels = pixels.transpose(2, 0, 1)
        return pixels[..., 0] if self.axes == "nhw" else np.ascontiguousarray(pixels)


def _operations() -> Any:
    return extra("PIL.ImageOps", "images need Pillow", "pillow")


def _crop(image: Any, size: tuple[int, int]) -> Any:
    """Its shorter side resized, its middle cut out."""
    return _operations().fit(image, size, pillow().Resampling.BILINEAR)


def _letterbox(image: Any, size: tuple[int, int]) -> Any:
    """All of it in its own proportions, grey at both sides, as detectors are trained."""
    grey = {"L": _GREY, "RGB": (_GREY,) * 3, "RGBA": (*(_GREY,) * 3, 255)}[image.mode]
    return _operations().pad(image, size, pillow().Resampling.BILINEAR, color=grey)


def _stretch(image: Any, size: tuple[int, int]) -> Any:
    """All of it, in the proportions of the model's input."""
    return image.resize(size, pillow().Resampling.BILINEAR)


_FITTED = {"crop": _crop, "letterbox": _letterbox, "stretch": _stretch}


def _axes(name: str, dims: list[int | str], layout: str) -> str:
    if len(dims) == 3:
        return "nhw"
    if len(dims) != 4:
        raise UsageError(f"input '{name}' takes {dims}, which is no image; give an .npz")
    if layout != "auto":
        return layout
    for axes in ("nchw", "nhwc"):
        if dims[axes.index("c")] in _MODES:
            return axes
    raise UsageError(
        f"input '{name}' takes {dims}: it can't be told where its channels are; give --layout nchw or nhwc"
    )
