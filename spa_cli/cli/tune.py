"""``spa tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spa_cli.cli.command import command
from spa_cli.cli.parameters import Force, Json, Out
from spa_cli.cli.show import print_json, warn
from spa_cli.options.arguments import SampleArguments, TrainingArguments


@command()
def tune(
    *,
    pruned: Annotated[Path, typer.Argument(help="The pruned .onnx file, or its folder.", show_default=False)],
    teacher: Annotated[Path, typer.Option(help="The original that it was made of.", show_default=False)],
    output: Out,
    training: TrainingArguments,
    options: SampleArguments,
    plan: Annotated[
        Path | None,
        typer.Option(help="The plan it was made by: what is left of sums inside is matched, too.", show_default=False),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Also write how it went as one HTML page (extra report).", show_default=False),
    ] = None,
    json: Json = False,
    force: Force = False,
) -> None:
    """Train a pruned model to give what the original gives: no labels, no training code. Ctrl-C keeps the best so far.

    A model folder becomes such a folder.
    """
    import spa_cli
    from spa_cli.report.tables import console
    from spa_cli.report.tune import tune_json, tune_table

    found = spa_cli.tune(pruned, teacher, output, plan=plan, report=report, force=force, **training, **options)
    told = tune_json(found)
    warn(told["warnings"])
    if json:
        print_json(told)
    else:
        tune_table(console(), told)
