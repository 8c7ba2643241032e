"""``spa sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spa_cli.cli import choices as c
from spa_cli.cli.command import command
from spa_cli.cli.options import Force, InputShape, Json, Model, print_json
from spa_cli.cli.show import warn


@command(kept="what was found is in the folder, run it again to go on")
def sweep(
    model: Model,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="A folder for sweep.json, sweep.csv and what is kept.", show_default=False),
    ],
    by: Annotated[str, typer.Option(help="Budgets in macs, params, ratio or latency.")] = "macs",
    points: Annotated[
        str, typer.Option(help="Budgets to try, as for --target-macs (--ratio, ...).")
    ] = "0.9,0.8,0.7,0.6,0.5,0.4,0.3,0.2",
    picture: Annotated[
        list[Path] | None,
        typer.Option(help="Also draw it: a .png, .svg, .pdf or .html file (extra report).", show_default=False),
    ] = None,
    keep_models: Annotated[bool, typer.Option("--keep-models", help="Keep the model of every point.")] = False,
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
    json: Json = False,
    force: Force = False,
) -> None:
    """Try many budgets: the curve of quality against cost, and how sensitive each group is. Goes on if interrupted."""
    arguments = locals()
    from spa_cli.atomic import write_text
    from spa_cli.errors import UsageError
    from spa_cli.options import Options
    from spa_cli.report.curve import check_picture, draw
    from spa_cli.report.sweep import sweep_csv, sweep_json, sweep_table
    from spa_cli.report.tables import console
    from spa_cli.sweeping import run

    try:
        budgets = tuple(float(p) for p in points.split(","))
    except ValueError:
        raise UsageError(
            f"--points '{points}' is not a list of numbers like 0.9,0.5,0.2; write them with commas between"
        ) from None
    for file in picture or ():
        check_picture(file, force)
    coin = by if by == "ratio" else f"target_{by}"
    options = Options(ratio=0.5, **c.chosen(arguments))
    found = run.sweep(model, output, options, coin, budgets, keep_models=keep_models, force=force)
    write_text(output / "sweep.csv", sweep_csv(found))
    for file in picture or ():
        draw(found, file)
    warn(found.warnings)
    if json:
        print_json(sweep_json(found))
    else:
        sweep_table(console(), found)
