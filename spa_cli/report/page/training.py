"""How a training went, and the page of ``spa tune --report``."""

from __future__ import annotations

from collections.abc import Sequence

from spa_cli.progress import stage
from spa_cli.report.page.render import render
from spa_cli.report.page.theme import AFTER, BEFORE, Drawn, Number, canvas, drawing, inline
from spa_cli.report.tune import tune_json, tuned_lines
from spa_cli.text import duration
from spa_cli.tuning.result import TuneResult
from spa_cli.tuning.train import Point

# inches, which fit a phone
_WIDTH = 5.0


def tune_page(result: TuneResult) -> str:
    """Before and after, how it was trained, and the curve."""
    stage("drawing the report")
    report = tune_json(result)
    points = result.tuned.training.curve
    return render(
        "tune.html.j2",
        json=report,
        how=tuned_lines(report["tuned"]),
        curve=curve(points) if len(points) > 1 else None,
    )


def curve(points: Sequence[Point]) -> Drawn:
    """The loss on samples that no step sees, as steps go on."""
    label = f"Loss on held-back samples over {points[-1].step} steps, judged {len(points)} times"
    steps, losses = [p.step for p in points], [p.loss for p in points]
    best = min(points, key=lambda p: p.loss)
    with drawing():
        figure, axes = canvas(2.7, _WIDTH)
        axes.plot(steps, losses, color=BEFORE, linewidth=1.6, marker="o", markersize=3.5, zorder=2)
        axes.scatter([best.step], [best.loss], s=70, c=AFTER, marker="D", zorder=3, label="the best, which is kept")
        axes.set_ylim(0, 1.08 * max(losses))
        axes.set_xlabel("steps", fontsize=8)
        axes.set_ylabel("loss, that of the start being 1", fontsize=8)
        axes.tick_params(labelsize=8)
        figure.legend(loc="outside upper left", fontsize=8)
        svg = inline(figure, "training", label)
    rows: list[list[str | Number]] = [
        [Number(p.step, str(p.step)), Number(p.seconds, duration(p.seconds)), Number(p.loss, f"{p.loss:.3g}")]
        for p in points
    ]
    caption = "Weights are the moving average that would be written at that step."
    return Drawn("training", label, svg, caption, ["step", "time", "loss"], rows, fits=True)
