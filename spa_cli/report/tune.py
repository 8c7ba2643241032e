"""What ``tune`` did, as JSON and as people read it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape

from spa_cli.report.tables import new_table
from spa_cli.text import drift_text, shorten
from spa_cli.tuning.result import TuneResult


def tune_json(result: TuneResult) -> dict[str, Any]:
    """``spa.tune/1``."""
    tuned = result.tuned
    training = tuned.training
    return {
        "schema": "spa.tune/1",
        "input": result.pruned.name,
        "teacher": result.original.name,
        "output": str(result.out) if result.out else None,
        "improved": training.weights is not None,
        "loss": training.best,
        "drift": {"before": _drift(result, 0), "after": _drift(result, 1), "on": tuned.judged_on},
        "steps": training.steps,
        "seconds": training.seconds,
        "interrupted": training.interrupted,
        "learning_rate": training.rate,
        "batch": tuned.batch,
        "augmented_by": list(tuned.ways),
        "trained_on": tuned.samples,
        "matched": [asdict(term) for term in tuned.terms],
        "trained": tuned.trained,
        "left": tuned.missing,
        "curve": [asdict(point) for point in training.curve],
        "warnings": result.warnings,
    }


def _drift(result: TuneResult, at: int) -> dict[str, float | None]:
    drift = result.drift[at]
    return {"relative_l2": drift.relative_l2, "agreement": drift.agreement}


def tune_table(out: Console, report: dict[str, Any]) -> None:
    """Before and after, of a ``spa.tune/1``."""
    table = new_table(out, escape(f"tuned {shorten(report['input'], 30)} to {shorten(report['teacher'], 30)}"))
    table.add_column("")
    for column in ("before", "after"):
        table.add_column(column, justify="right", no_wrap=True)
    before, after = report["drift"]["before"], report["drift"]["after"]
    table.add_row("loss", "1", f"{min(report['loss'], 1.0):.3g}")
    if before["relative_l2"] is not None:
        table.add_row("drift", *(drift_text(d["relative_l2"]) for d in (before, after)))
    if before["agreement"] is not None:
        table.add_row("arg-max agreement", *(f"{d['agreement']:.1%}" for d in (before, after)))
    out.print(table)
    ways = f", each changed by {' and '.join(report['augmented_by'])}" if report["augmented_by"] else ""
    out.print(
        f"{report['steps']} steps of {report['batch']} samples in {report['seconds']:.0f} s at a learning rate of "
        f"{report['learning_rate']:.2g}; trained on {escape(report['trained_on'])}{ways}; measured on "
        f"{escape(report['drift']['on'])}"
    )
    if report["left"]:
        name, why = next(iter(report["left"].items()))
        out.print(f"{report['trained']} weights trained, {len(report['left'])} left as they are: {escape(name)}: {escape(why)}")
    if report["output"]:
        out.print(f"written to [bold]{escape(report['output'])}[/]", soft_wrap=True)
    else:
        out.print("nothing was written")
