"""Options about importance, samples and what may go, shared by the commands that choose channels."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spa_cli.cli.shapes import parse_shapes

if TYPE_CHECKING:
    from spa_cli.calibration.reading import Reading

_IMPORTANCE, _WHAT, _DATA = "Importance", "What may go", "Calibration data"

Method = Annotated[
    str,
    typer.Option(help="Criterion, or several (l1+wanda); 'spa criteria' lists them.", rich_help_panel=_IMPORTANCE),
]
Aggregation = Annotated[
    str | None,
    typer.Option(
        help="From a coupled channel's members to one score.", rich_help_panel=_IMPORTANCE, show_default=False
    ),
]
Normalisation = Annotated[
    str | None,
    typer.Option(
        "--normalisation",
        "--normalization",
        help="What makes groups comparable.",
        rich_help_panel=_IMPORTANCE,
        show_default=False,
    ),
]
Ensemble = Annotated[str, typer.Option(help="Add criteria up by rank or by value.", rich_help_panel=_IMPORTANCE)]
RoleWeight = Annotated[
    list[str] | None,
    typer.Option(
        help="How much members count: producer=1, consumer=1, pass-through=0.",
        rich_help_panel=_IMPORTANCE,
        show_default=False,
    ),
]
Focus = Annotated[
    list[str] | None,
    typer.Option(
        help="What counts four times: output=NAME, classes=3,5, samples=0:100.",
        rich_help_panel=_IMPORTANCE,
        show_default=False,
    ),
]
Repair = Annotated[
    bool | None,
    typer.Option(
        help="Refit what is left (default: with obspa only).", rich_help_panel=_IMPORTANCE, show_default=False
    ),
]
Calib = Annotated[
    Path | None,
    typer.Option(
        help="Samples: .npz with an array per input, .npy, a folder of them or of images, .txt, .jsonl, a saved "
        "dataset, or module:function.",
        rich_help_panel=_DATA,
        show_default=False,
    ),
]
CalibSamples = Annotated[int, typer.Option(help="Calibration samples to use at most.", rich_help_panel=_DATA)]
Test = Annotated[
    Path | None,
    typer.Option(
        help="Samples to measure drift on, with labels for accuracy (default: a part of --calib).",
        rich_help_panel=_DATA,
        show_default=False,
    ),
]
Mean = Annotated[
    str,
    typer.Option(help="Taken off pixels, one number or one a channel: 0.485,0.456,0.406.", rich_help_panel=_DATA),
]
Std = Annotated[str, typer.Option(help="What pixels are divided by then, as --mean.", rich_help_panel=_DATA)]
Layout = Annotated[str, typer.Option(help="Order of an image's axes: nchw, nhwc or auto.", rich_help_panel=_DATA)]
Color = Annotated[str, typer.Option(help="Order of an image's channels: rgb or bgr.", rich_help_panel=_DATA)]
ImageRange = Annotated[int, typer.Option(help="Pixels go from 0 to this: 1 or 255.", rich_help_panel=_DATA)]
Tokenizer = Annotated[
    Path | None, typer.Option(help="The tokenizer.json for text.", rich_help_panel=_DATA, show_default=False)
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        help="Tokens a text has at most (default: what the model takes, or 128).",
        rich_help_panel=_DATA,
        show_default=False,
    ),
]
Provider = Annotated[
    str,
    typer.Option(help="What onnxruntime calibrates and times on: cuda,cpu.", rich_help_panel=_DATA),
]
Evaluate = Annotated[
    str | None,
    typer.Option("--eval", help="A command that prints accuracy last: 'python eval.py {model}'.", show_default=False),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Ignore = Annotated[
    list[str] | None,
    typer.Option(
        help="Leave groups whole that match (group, tensor or node name).",
        rich_help_panel=_WHAT,
        show_default=False,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        help="Cut only groups with this name, or made by a tensor or node with it.",
        rich_help_panel=_WHAT,
        show_default=False,
    ),
]
RoundTo = Annotated[
    str,
    typer.Option(
        help="Keep layer widths multiples of this; auto: of what kernels here like, if that costs little; 1: any.",
        rich_help_panel=_WHAT,
    ),
]
MinChannels = Annotated[int, typer.Option(help="Leave every layer at least this wide.", rich_help_panel=_WHAT)]
MaxGroupRatio = Annotated[float, typer.Option(help="Remove at most this fraction of a group.", rich_help_panel=_WHAT)]
ExactOnly = Annotated[
    bool, typer.Option("--exact-only", help="Only cut where removing equals zeroing.", rich_help_panel=_WHAT)
]


_READING = ("mean", "std", "layout", "color", "image_range", "tokenizer", "max_length")
_SHARED = (
    *("method", "aggregation", "normalisation", "ensemble", "role_weight", "focus", "repair"),
    *("calib", "calib_samples", *_READING, "test", "evaluate", "seed", "provider"),
    *("ignore", "only", "round_to", "min_channels", "max_group_ratio", "exact_only", "input_shape"),
)


def reading(given: Mapping[str, Any]) -> Reading:
    """How samples are read, out of a command's arguments."""
    from spa_cli.calibration.reading import Reading

    return Reading.of(**{name: given[name] for name in _READING}, input_shape=parse_shapes(given["input_shape"]))


def chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """What ``Options`` takes, out of a command's arguments: lists as tuples, numbers as numbers, shapes as shapes."""
    found = {name: given[name] for name in _SHARED}
    for name in ("role_weight", "focus", "ignore", "only"):
        found[name] = tuple(found[name] or ())
    # Options says what else it may be
    with contextlib.suppress(ValueError):
        found["round_to"] = int(found["round_to"])
    return {**found, "input_shape": parse_shapes(found["input_shape"])}
