"""``spa prune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spa_cli.cli.app import app, guarded
from spa_cli.cli.options import Calib, Debug, Force, InputShape, Json, Model, Out, parse_shapes
from spa_cli.cli.show import progress, show_result

_BUDGET, _IMPORTANCE, _WHAT = "Budget (one of)", "Importance", "What may go"


@app.command()
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
    method: Annotated[
        str,
        typer.Option(help="Criterion, or several (l1+wanda); 'spa criteria' lists them.", rich_help_panel=_IMPORTANCE),
    ] = "obspa",
    aggregation: Annotated[
        str | None,
        typer.Option(help="From a coupled channel's members to one score.", rich_help_panel=_IMPORTANCE),
    ] = None,
    normalisation: Annotated[
        str | None,
        typer.Option(
            "--normalisation",
            "--normalization",
            help="What makes groups comparable.",
            rich_help_panel=_IMPORTANCE,
        ),
    ] = None,
    ensemble: Annotated[
        str, typer.Option(help="Add criteria up by rank or by value.", rich_help_panel=_IMPORTANCE)
    ] = "rank",
    role_weight: Annotated[
        list[str] | None,
        typer.Option(
            help="How much members count: producer=1, consumer=1, pass-through=0.",
            rich_help_panel=_IMPORTANCE,
            show_default=False,
        ),
    ] = None,
    focus: Annotated[
        list[str] | None,
        typer.Option(
            help="What counts four times: output=NAME, classes=3,5, samples=0:100.",
            rich_help_panel=_IMPORTANCE,
            show_default=False,
        ),
    ] = None,
    repair: Annotated[
        bool | None,
        typer.Option(
            help="Refit what is left (default: with obspa only).", rich_help_panel=_IMPORTANCE, show_default=False
        ),
    ] = None,
    calib: Calib = None,
    calib_samples: Annotated[int, typer.Option(help="Calibration samples to use at most.")] = 512,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave groups whole that match (group, tensor or node name).",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Cut only groups with this name, or made by a tensor or node with it.",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    round_to: Annotated[
        str,
        typer.Option(
            help="Keep layer widths multiples of this; auto: of what this machine's kernels like.",
            rich_help_panel=_WHAT,
        ),
    ] = "1",
    min_channels: Annotated[int, typer.Option(help="Leave every layer at least this wide.", rich_help_panel=_WHAT)] = 1,
    max_group_ratio: Annotated[
        float, typer.Option(help="Remove at most this fraction of a group.", rich_help_panel=_WHAT)
    ] = 1.0,
    exact_only: Annotated[
        bool, typer.Option("--exact-only", help="Only cut where removing equals zeroing.", rich_help_panel=_WHAT)
    ] = False,
    input_shape: InputShape = None,
    plan_out: Annotated[Path | None, typer.Option(help="Also write the plan (JSON).", show_default=False)] = None,
    json: Json = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but write.")] = False,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Remove the least important channels and write a smaller, verified model."""
    with guarded(debug):
        from spa_cli import pipeline
        from spa_cli.options import Options

        options = Options(
            ratio=ratio,
            target_macs=target_macs,
            target_params=target_params,
            target_size=target_size,
            target_latency=target_latency,
            method=method,
            aggregation=aggregation,
            normalisation=normalisation,
            ensemble=ensemble,
            role_weight=tuple(role_weight or ()),
            focus=tuple(focus or ()),
            repair=repair,
            calib=calib,
            calib_samples=calib_samples,
            seed=seed,
            ignore=tuple(ignore or ()),
            only=tuple(only or ()),
            round_to=int(round_to) if round_to.isdigit() else round_to,
            min_channels=min_channels,
            max_group_ratio=max_group_ratio,
            exact_only=exact_only,
            input_shape=parse_shapes(input_shape),
        )
        with progress() as report:
            result = pipeline.prune(
                model, options, output, force=force, plan_out=plan_out, dry_run=dry_run, progress=report
            )
        show_result(result, json, "spa.prune/1", "pruned")
