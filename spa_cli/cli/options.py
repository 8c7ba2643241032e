"""Options that several commands share."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from spa_cli.errors import UsageError

Model = Annotated[Path, typer.Argument(help="The .onnx file.", show_default=False)]
Out = Annotated[Path, typer.Option("-o", "--output", help="Where to write the small model.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]
Calib = Annotated[
    Path | None,
    typer.Option(
        help="Calibration data: .npz with one array per input, .npy, or a folder of them.", show_default=False
    ),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option("--input-shape", help="Concrete shape of an input, NAME:1,3,224,224.", show_default=False),
]


def parse_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """``NAME:1,3,224,224`` (also ``1x3x224x224``) to shapes."""
    shapes = {}
    for text in texts or []:
        name, _, dims = text.rpartition(":")
        try:
            shape = tuple(int(d) for d in dims.replace("x", ",").split(",") if d)
        except ValueError:
            shape = ()
        if not name or not shape or any(d < 1 for d in shape):
            raise UsageError(f"--input-shape '{text}' is not NAME:1,3,224,224")
        shapes[name] = shape
    return shapes


def print_json(value: dict[str, Any]) -> None:
    """One object on stdout."""
    typer.echo(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    """JSON has no NaN: a number that isn't one becomes null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
