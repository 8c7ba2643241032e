"""How images and text become what a model takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spa_cli.errors import OptionError
from spa_cli.options import READING, Options

LAYOUTS, COLORS, RANGES = ("auto", "nchw", "nhwc"), ("rgb", "bgr"), (1, 255)
FITS = ("crop", "letterbox", "stretch")


@dataclass(frozen=True)
class Reading:
    """Names as on the command line; raises UsageError for what is out of range.

    ``mean``, ``std``: one value, or one a channel, in the units of ``image_range``. ``input_shape``: those the user
    gave, (name, shape) each.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "auto"
    color: str = "rgb"
    image_range: int = 1
    fit: str = "crop"
    tokenizer: Path | None = None
    max_length: int | None = None
    input_shape: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @staticmethod
    def of(options: Options) -> Reading:
        """What options say of it."""
        return Reading(
            **{name: getattr(options, name) for name in READING}, input_shape=tuple(options.input_shape.items())
        )

    def __post_init__(self) -> None:
        if not all(value > 0 for value in self.std):
            raise OptionError(f"--std has to be positive, not {','.join(f'{v:g}' for v in self.std)}")
        for name, value, known in (
            ("--layout", self.layout, LAYOUTS),
            ("--color", self.color, COLORS),
            ("--image-range", self.image_range, RANGES),
            ("--fit", self.fit, FITS),
        ):
            if value not in known:
                raise OptionError(f"{name} {value} is not known; use one of {', '.join(map(str, known))}")
        if self.max_length is not None and self.max_length < 1:
            raise OptionError(f"--max-length has to be at least 1, not {self.max_length}")

    @property
    def normalises(self) -> bool:
        """Whether pixels are moved or scaled by the user's wish."""
        return any(self.mean) or any(value != 1 for value in self.std)
