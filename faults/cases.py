"""Every command that writes, and what it reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import spa_cli
from faults.place import Case, Place
from tests.graph.files import dense, save_external
from tests.samples import model_path


def cases(place: Place) -> list[Case]:
    """Every command that writes."""
    mlp, lstm, given = model_path("digits_mlp"), model_path("digits_lstm"), place.given
    # widths that are measured are others on a machine that does other things meanwhile
    exact = ("--method", "l1", "--round-to", 1)
    l1 = ("--ratio", 0.3, *exact)

    def work(out: Path) -> tuple[object, ...]:
        return ("--work", out.parent / "kept", "--round-to", 1)

    apply = ("apply", given / "plan.json", given / "external" / "m.onnx", "-o")
    return [
        Case("prune", lambda out: ["prune", mlp, "-o", out / "s.onnx", "--plan-out", out / "plan.json", *l1]),
        Case("prune --force", lambda out: ["prune", mlp, "-o", out / "s.onnx", *l1, "--force"], replaces=True),
        Case("apply, external data", lambda out: [*apply, out / "s.onnx"]),
        Case("apply --force, external data", lambda out: [*apply, out / "s.onnx", "--force"], replaces=True),
        Case("batch", lambda out: ["prune", given / "many", "-o", out, *l1, "--no-isolate"]),
        # its files are put in place by processes of their own, whose steps are not counted here
        Case("batch, isolated", lambda out: ["prune", given / "many", "-o", out, *l1], share=0.2),
        Case("cache", lambda out: ["prune", mlp, "-o", out / "s.onnx", "--cache", out.parent / "cache", *l1]),
        Case(
            "work",
            lambda out: ["prune", lstm, "-o", out / "s.onnx", "--ratio", 0.3, "--calib-samples", 64, *work(out)],
            share=0.1,
        ),
        Case(
            "sweep",
            lambda out: ["sweep", lstm, "-o", out, "--points", "0.8,0.5", *exact, "--keep-models"],
            goes_on=True,
            share=0.7,
        ),
        Case("report", lambda out: ["inspect", mlp, "--html", out / "r.html"], share=0.15),
        Case(
            "prune --report",
            lambda out: ["prune", mlp, "-o", out / "s.onnx", "--report", out / "r.html", *l1],
            share=0.1,
        ),
    ]


def make_given(place: Place) -> None:
    """What the commands read: a folder of models, one with external data, two plans for it."""
    (place.given / "many").mkdir(parents=True)
    for name in ("digits_mlp", "digits_lstm"):
        shutil.copy(model_path(name), place.given / "many")
    external = place.given / "external"
    external.mkdir()
    save_external(dense(256), external / "m.onnx")
    for name, ratio in (("plan", 0.3), ("other", 0.5)):
        spa_cli.prune(external / "m.onnx", plan_out=place.given / f"{name}.json", ratio=ratio, method="l1")
