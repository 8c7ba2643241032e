"""``spa prune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spa_cli.cli import choices as c
from spa_cli.cli.command import command
from spa_cli.cli.config import one_budget
from spa_cli.cli.options import Force, InputShape, Json, Out
from spa_cli.cli.show import show_outcomes, show_report

_BUDGET, _OUTPUT = "Budget (one of)", "Output"


@command()
def prune(
    context: typer.Context,
    model: Annotated[
        list[Path], typer.Argument(help="The .onnx file, or several, or folders of them.", show_default=False)
    ],
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
    calib: c.Calib = None,
    calib_samples: c.CalibSamples = 512,
    mean: c.Mean = "0",
    std: c.Std = "1",
    layout: c.Layout = "auto",
    color: c.Color = "rgb",
    image_range: c.ImageRange = 1,
    tokenizer: c.Tokenizer = None,
    max_length: c.MaxLength = None,
    test: c.Test = None,
    evaluate: c.Evaluate = None,
    provider: c.Provider = "cpu",
    seed: c.Seed = 0,
    ignore: c.Ignore = None,
    only: c.Only = None,
    round_to: c.RoundTo = "auto",
    min_channels: c.MinChannels = 1,
    max_group_ratio: c.MaxGroupRatio = 1.0,
    exact_only: c.ExactOnly = False,
    input_shape: InputShape = None,
    plan_out: Annotated[
        Path | None, typer.Option(help="Also write the plan (JSON).", rich_help_panel=_OUTPUT, show_default=False)
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Also write all there is to see as one HTML page (extra report).",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="A folder that remembers results by what is in the files.",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but write.")] = False,
    force: Force = False,
) -> None:
    """Remove the least important channels and write a smaller, verified model.

    Several models, or a folder of them, go to a folder; --plan-out and --report are folders then, too.
    """
    arguments = locals()
    from spa_cli.batch import Wanted, prune_file, prune_files
    from spa_cli.options import BUDGETS, Options

    budgets = one_budget(context, {name: arguments[name] for name in BUDGETS})
    options = Options(**budgets, **c.chosen(arguments))
    wanted = Wanted(output, plan_out, report, force, dry_run, cache)
    if len(model) == 1 and not model[0].is_dir():
        show_report(prune_file(model[0], options, wanted), json, "pruned")
    else:
        show_outcomes(prune_files(model, options, wanted), json)
