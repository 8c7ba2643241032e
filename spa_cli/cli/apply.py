"""``spa apply``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spa_cli.cli.command import command
from spa_cli.cli.parameters import Force, Json, Out
from spa_cli.cli.show import show, show_report, warn
from spa_cli.options.arguments import RunArguments


@command(opens="model")
def apply(
    *,
    plan: Annotated[Path, typer.Argument(help="The plan, as written by --plan-out.", show_default=False)],
    output: Out,
    model: Annotated[
        Path | None,
        typer.Argument(
            help="The .onnx file, or a model folder; with --weights only needed where names differ.", show_default=False
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Cut these weights of the framework instead: .safetensors, .npz, or a state dict (.pt, .pth, .bin).",
            show_default=False,
        ),
    ] = None,
    exported_with: Annotated[
        Path | None,
        typer.Option(
            help="With --weights that were retrained: the weights that MODEL was exported from.", show_default=False
        ),
    ] = None,
    repaired: Annotated[
        Path | None,
        typer.Option(
            help="With --weights: the pruned .onnx, whose repaired values the smaller weights get.", show_default=False
        ),
    ] = None,
    options: RunArguments,
    json: Json = False,
    force: Force = False,
) -> None:
    """Make the same cut on the same model or on a retrained one, or on the framework's own weights; nothing is repaired anew."""
    import spa_cli
    from spa_cli.errors import OptionError, UsageError

    if weights is not None:
        for flag, given in (("--input-shape", options["input_shape"]), ("--no-run", not options["run"])):
            if given:
                raise OptionError(f"{flag} says nothing about --weights; leave it out")
        from spa_cli.report.weights import weights_json, weights_table

        carried = spa_cli.apply_weights(
            plan, weights, output, model=model, exported_with=exported_with, repaired=repaired, force=force
        )
        warn(carried.warnings)
        show(json, lambda: weights_json(carried), lambda out: weights_table(out, carried))
        return
    if exported_with is not None:
        raise OptionError("--exported-with belongs to --weights; give both, or neither")
    if repaired is not None:
        raise OptionError("--repaired says nothing without --weights; leave it out, or name the framework's file")
    if model is None:
        raise UsageError("there is nothing to cut; give the model after the plan, or --weights")
    from spa_cli.report.json_report import prune_json

    result = spa_cli.apply(plan, model, output, force=force, **options)
    show_report(prune_json(result, "spa.apply/1"), json, "applied the plan to")
