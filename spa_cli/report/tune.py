"""What ``tune`` did, as JSON and as people read it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape

from spa_cli.report.tables import new_table, put
from spa_cli.text import drift_text, plural
from spa_cli.tuning.result import TuneResult
from spa_cli.tuning.tune import Tuned
from spa_cli.verification.drift import Drift


def tune_json(result: TuneResult) -> dict[str, Any]:
    """``spa.tune/1``."""
    return {
        "schema": "spa.tune/1",
        "input": result.pruned.name,
        "teacher": result.original.name,
        "output": str(result.out) if result.out else None,
        "drift": {
            "before": _drift(result.drift[0]),
            "after": _drift(result.drift[1]),
            "on": result.tuned.judged_on,
        },
        "tuned": tuned_json(result.tuned),
        "warnings": result.warnings,
    }


def _drift(drift: Drift) -> dict[str, float | None]:
    return {"relative_l2": drift.relative_l2, "agreement": drift.agreement}


def tuned_json(tuned: Tuned) -> dict[str, Any]:
    """How weights were trained: the same of ``tune`` and of ``prune --tune``."""
    training = tuned.training
    return {
        "improved": training.weights is not None,
        "loss": training.best,
        "steps": training.steps,
        "seconds": training.seconds,
        "interrupted": training.interrupted,
        "learning_rate": training.rate,
        "batch": tuned.batch,
        "augmented_by": list(tuned.ways),
        "trained_on": tuned.samples,
        "matched": [
            {"tensor": t.tensor, "as": t.form, "axis": t.axis, "start": t.start, "stop": t.stop, "inner": t.inner}
            for t in tuned.terms
        ],
        "trained": tuned.trained,
        "left": tuned.missing,
        "curve": [asdict(point) for point in training.curve],
    }


def tune_table(out: Console, report: dict[str, Any]) -> None:
    """Before and after, of a ``spa.tune/1``."""
    table = new_table(out, escape(f"tuned {report['input']} to {report['teacher']}"))
    table.add_column("")
    for column in ("before", "after"):
        table.add_column(column, justify="right", no_wrap=True)
    tuned, before, after = report["tuned"], report["drift"]["before"], report["drift"]["after"]
    table.add_row("loss", "1", f"{min(tuned['loss'], 1.0):.3g}")
    if before["relative_l2"] is not None:
        table.add_row("drift", *(drift_text(d["relative_l2"]) for d in (before, after)))
    if before["agreement"] is not None:
        table.add_row("agreement", *(f"{d['agreement']:.1%}" for d in (before, after)))
    put(out, table)
    for line in tuned_lines(tuned):
        out.print(line)
    out.print(f"measured on {escape(report['drift']['on'])}")
    if report["output"]:
        out.print(f"written to [bold]{escape(report['output'])}[/]", soft_wrap=True)
    else:
        out.print("nothing was written")


def tuned_lines(tuned: dict[str, Any]) -> list[str]:
    """How weights were trained, in words."""
    ways = f", changed by {' and '.join(tuned['augmented_by'])}" if tuned["augmented_by"] else ""
    found = [
        f"trained for {plural(tuned['steps'], 'step')} of {plural(tuned['batch'], 'sample')} in "
        f"{tuned['seconds']:.0f} s at a learning rate of {tuned['learning_rate']:.2g}, "
        f"on {escape(tuned['trained_on'])}{ways}"
    ]
    if tuned["left"]:
        name, why = next(iter(tuned["left"].items()))
        left = (
            f"{plural(tuned['trained'], 'weight was', 'weights were')} trained, {len(tuned['left'])} left as they are"
        )
        found.append(f"{left} ('{escape(name)}': {escape(why)})")
    return found
