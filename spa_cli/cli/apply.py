"""``spa apply``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spa_cli.cli.app import app, guarded
from spa_cli.cli.options import Debug, Force, InputShape, Json, Model, Out, parse_shapes
from spa_cli.cli.show import progress, show_result


@app.command()
def apply(
    plan: Annotated[Path, typer.Argument(help="The plan, as written by --plan-out.", show_default=False)],
    model: Model,
    output: Out,
    input_shape: InputShape = None,
    json: Json = False,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Make the same cut on the same model, or on a retrained one."""
    with guarded(debug):
        from spa_cli import pipeline

        with progress() as report:
            result = pipeline.apply(
                plan, model, output, force=force, input_shape=parse_shapes(input_shape), progress=report
            )
        show_result(result, json, "spa.apply/1", "applied the plan to")
