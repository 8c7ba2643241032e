"""``spa verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spa_cli.cli.command import command
from spa_cli.cli.options import Calib, InputShape, Json, Model, parse_shapes, print_json


@command()
def verify(
    model: Model,
    pruned: Annotated[Path, typer.Argument(help="The pruned .onnx file.", show_default=False)],
    plan: Annotated[
        Path | None, typer.Option(help="Also compare with zeroing what this plan removes.", show_default=False)
    ] = None,
    calib: Calib = None,
    max_drift: Annotated[
        float | None, typer.Option(help="Fail above this relative L2 drift.", show_default=False)
    ] = None,
    min_agreement: Annotated[
        float | None, typer.Option(help="Fail below this arg-max agreement.", show_default=False)
    ] = None,
    input_shape: InputShape = None,
    json: Json = False,
) -> None:
    """Check that the pruned model can take the original's place, and how far its outputs moved."""
    from spa_cli.errors import UsageError
    from spa_cli.report.json_report import verify_json
    from spa_cli.report.tables import console, verify_table
    from spa_cli.report.text import drift_text
    from spa_cli.verification.compare import compare

    if min_agreement is not None and not 0 <= min_agreement <= 1:
        raise UsageError(f"--min-agreement has to lie between 0 and 1, not {min_agreement:g}")
    if max_drift is not None and not max_drift >= 0:
        raise UsageError(f"--max-drift can't be negative, not {max_drift:g}")
    comparison = compare(model, pruned, plan, calib, parse_shapes(input_shape))
    failures = []
    moved = comparison.drift.relative_l2
    if max_drift is not None and not moved <= max_drift:
        failures.append(f"output drift {drift_text(moved)}, which is not within --max-drift {max_drift:g}")
    if min_agreement is not None and not (comparison.drift.agreement or 0.0) >= min_agreement:
        failures.append(
            f"arg-max agreement {comparison.drift.agreement or 0.0:.3g} is below --min-agreement {min_agreement:g}"
        )
    if json:
        print_json(verify_json(comparison, failures))
    else:
        verify_table(console(), comparison, failures)
    if failures:
        raise typer.Exit(1)
