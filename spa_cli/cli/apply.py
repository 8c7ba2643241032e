"""``spa apply``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spa_cli.cli.command import command
from spa_cli.cli.options import Force, InputShape, Json, Out, print_json
from spa_cli.cli.shapes import parse_shapes
from spa_cli.cli.show import show_report, warn

_Weights = Annotated[
    Path | None,
    typer.Option(
        help="Cut these weights of the framework instead: .safetensors, .npz, or a state dict (.pt, .pth, .bin).",
        show_default=False,
    ),
]
_ExportedWith = Annotated[
    Path | None,
    typer.Option(
        help="With --weights that were retrained: the weights that MODEL was exported from.", show_default=False
    ),
]


@command()
def apply(
    plan: Annotated[Path, typer.Argument(help="The plan, as written by --plan-out.", show_default=False)],
    output: Out,
    model: Annotated[
        Path | None,
        typer.Argument(help="The .onnx file; with --weights only needed where names differ.", show_default=False),
    ] = None,
    weights: _Weights = None,
    exported_with: _ExportedWith = None,
    input_shape: InputShape = None,
    json: Json = False,
    force: Force = False,
) -> None:
    """Make the same cut on the same model or on a retrained one, or on the framework's own weights; nothing is repaired."""
    from spa_cli.errors import UsageError

    if weights is not None:
        if input_shape:
            raise UsageError("--input-shape says nothing about --weights; leave it out")
        _apply_weights(plan, weights, output, model, exported_with, force, json)
        return
    if exported_with is not None:
        raise UsageError("--exported-with belongs to --weights; give both, or neither")
    if model is None:
        raise UsageError("there is nothing to cut; give the model after the plan, or --weights")
    from spa_cli import pipeline
    from spa_cli.files import Files
    from spa_cli.plan import Plan
    from spa_cli.report.json_report import prune_json

    files = Files(output, force=force)
    result = pipeline.apply(Plan.read(plan), model, files, input_shape=parse_shapes(input_shape))
    show_report(prune_json(result, "spa.apply/1"), json, "applied the plan to")


def _apply_weights(
    plan: Path, weights: Path, output: Path, model: Path | None, exported_with: Path | None, force: bool, json: bool
) -> None:
    from spa_cli.report.tables import console
    from spa_cli.report.weights import weights_json, weights_table
    from spa_cli.weights.carry import carry

    result = carry(plan, weights, output, model=model, exported_with=exported_with, force=force)
    warn(result.warnings)
    if json:
        print_json(weights_json(result))
    else:
        weights_table(console(), result)
