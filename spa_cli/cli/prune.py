"""``spa prune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spa_cli.cli import choices as c
from spa_cli.cli.command import command
from spa_cli.cli.options import Calib, Force, InputShape, Json, Model, Out
from spa_cli.cli.show import show_result

_BUDGET = "Budget (one of)"


@command()
def prune(
    model: Model,
    output: Out,
    ratio: Annotated[
        float | None,
        typer.Option(help="Fraction of all removable channels to remove.", rich_help_panel=_BUDGET, show_default=False),
    ] = None,
    target_macs: Annotated[
        float | None,
        typer.Option(help="Fraction of the MACs that may remain.", rich_help_panel=_BUDGET, show_default=False),
    ] = None,
    target_params: Annotated[
        float | None,
        typer.Option(help="Fraction of the parameters that may remain.", rich_help_panel=_BUDGET, show_default=False),
    ] = None,
    target_size: Annotated[
        int | None,
        typer.Option(help="File size in bytes that may remain.", rich_help_panel=_BUDGET, show_default=False),
    ] = None,
    target_latency: Annotated[
        float | None,
        typer.Option(
            help="Fraction of the latency, measured here, that may remain.",
            rich_help_panel=_BUDGET,
            show_default=False,
        ),
    ] = None,
    max_drift: Annotated[
        float | None,
        typer.Option(
            help="The smallest model whose outputs move no more (relative L2).",
            rich_help_panel=_BUDGET,
            show_default=False,
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            help="The smallest model that keeps this accuracy (labels in --test, or --eval).",
            rich_help_panel=_BUDGET,
            show_default=False,
        ),
    ] = None,
    method: c.Method = "obspa",
    aggregation: c.Aggregation = None,
    normalisation: c.Normalisation = None,
    ensemble: c.Ensemble = "rank",
    role_weight: c.RoleWeight = None,
    focus: c.Focus = None,
    repair: c.Repair = None,
    calib: Calib = None,
    calib_samples: c.CalibSamples = 512,
    test: c.Test = None,
    evaluate: c.Evaluate = None,
    seed: c.Seed = 0,
    ignore: c.Ignore = None,
    only: c.Only = None,
    round_to: c.RoundTo = "1",
    min_channels: c.MinChannels = 1,
    max_group_ratio: c.MaxGroupRatio = 1.0,
    exact_only: c.ExactOnly = False,
    input_shape: InputShape = None,
    plan_out: Annotated[Path | None, typer.Option(help="Also write the plan (JSON).", show_default=False)] = None,
    json: Json = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but write.")] = False,
    force: Force = False,
) -> None:
    """Remove the least important channels and write a smaller, verified model."""
    arguments = locals()
    from spa_cli import pipeline
    from spa_cli.options import Options

    options = Options(
        ratio=ratio,
        target_macs=target_macs,
        target_params=target_params,
        target_size=target_size,
        target_latency=target_latency,
        max_drift=max_drift,
        min_accuracy=min_accuracy,
        **c.chosen(arguments),
    )
    result = pipeline.prune(model, options, output, force=force, plan_out=plan_out, dry_run=dry_run)
    show_result(result, json, "spa.prune/1", "pruned")
