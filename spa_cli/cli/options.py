"""Options that several commands share."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[Path, typer.Argument(help="The .onnx file.", show_default=False)]
Out = Annotated[Path, typer.Option("-o", "--output", help="Where to write the small model.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        "--input-shapes",
        help="Concrete shape of an input: NAME:1,3,224,224, or as polygraphy, trtexec and onnxsim write it.",
        show_default=False,
    ),
]


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
