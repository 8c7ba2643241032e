"""Structurally prune any trained network in an ONNX file.

The same verbs as the commands, taking a path or a ``ModelProto``::

    import spa_cli

    analysis = spa_cli.inspect("model.onnx")
    result = spa_cli.prune("model.onnx", "small.onnx", ratio=0.3, method="l1")
    spa_cli.apply("plan.json", "retrained.onnx", "small.onnx")
    curve = spa_cli.sweep("model.onnx", "sweep", points=(0.8, 0.5))
    report = spa_cli.verify("model.onnx", "small.onnx")

``prune_many`` takes many files, or folders of them; ``criteria``, ``operators`` and ``schema`` say what the commands of
that name print. What goes on is logged to the logger ``spa_cli``.

All raise subclasses of ``spa_cli.errors.SpaError``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from spa_cli import moved
from spa_cli.version import __version__

if TYPE_CHECKING:
    import onnx

    from spa_cli.analysis import Analysis
    from spa_cli.plan import Plan
    from spa_cli.report.operators import Operator
    from spa_cli.result import Outcome, Result
    from spa_cli.sweeping.run import Sweep
    from spa_cli.verification.compare import Comparison
    from spa_cli.weights.carry import Carried

__all__ = [
    "__version__",
    "apply",
    "apply_weights",
    "criteria",
    "inspect",
    "operators",
    "prune",
    "prune_many",
    "schema",
    "sweep",
    "verify",
]

moved.install()


class _Package(ModuleType):
    """The package has a function ``operators`` and a room of that name: importing the room leaves the function be."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name == "operators" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

PathLike = str | os.PathLike[str]


def inspect(
    model: PathLike | onnx.ModelProto,
    *,
    input_shape: dict[str, tuple[int, ...]] | None = None,
    html: PathLike | None = None,
    force: bool = False,
) -> Analysis:
    """Groups of coupled channels, frozen axes with reasons, and costs of ``model``.

    ``html``: where to write them as a page with figures, too (extra ``report``).
    """
    from spa_cli.analysis import analyse_model
    from spa_cli.atomic import write_text
    from spa_cli.report.page.inspect import inspect_page
    from spa_cli.report.page.render import check_page
    from spa_cli.runtime.load import load

    source, page = load(model), None if html is None else Path(html)
    if page is not None:
        check_page(page, source, force, "--html")
    analysis = analyse_model(source, input_shape or {})
    if page is not None:
        write_text(page, inspect_page(analysis, source))
    return analysis


def prune(
    model: PathLike | onnx.ModelProto,
    out: PathLike | None = None,
    *,
    force: bool = False,
    plan_out: PathLike | None = None,
    report: PathLike | None = None,
    dry_run: bool = False,
    **options: Any,
) -> Result:
    """Prune ``model``; ``options`` are the fields of ``spa_cli.options.Options``, named as on the command line.

    ``result.model`` is the small model; it is also written to ``out`` if given, and all there is to see of it to
    ``report``, an HTML page (extra ``report``).
    """
    from spa_cli import pipeline
    from spa_cli.files import Files
    from spa_cli.options import Options

    small, plan, page = (None if f is None else Path(f) for f in (out, plan_out, report))
    files = Files(small, plan, page, force)
    return pipeline.prune(model, Options(**options), files, dry_run=dry_run)


def prune_many(
    models: Sequence[PathLike],
    out: PathLike,
    *,
    force: bool = False,
    plan_out: PathLike | None = None,
    report: PathLike | None = None,
    dry_run: bool = False,
    cache: PathLike | None = None,
    **options: Any,
) -> Iterator[Outcome]:
    """Prune files, and every .onnx file under folders, into the folder ``out``; one ``Outcome`` each, as they are made.

    ``plan_out`` and ``report`` are folders, too; ``cache``: a folder that remembers results by what is in the files.
    ``options``: as for ``prune``. A file that fails is an ``Outcome`` that says why, and does not stop the rest.
    """
    from spa_cli.batch import Wanted, prune_files
    from spa_cli.options import Options

    plans, pages, remembered = (None if f is None else Path(f) for f in (plan_out, report, cache))
    wanted = Wanted(Path(out), plans, pages, force, dry_run, remembered)
    return prune_files([Path(m) for m in models], Options(**options), wanted)


def apply(
    plan: PathLike | Plan,
    model: PathLike | onnx.ModelProto,
    out: PathLike | None = None,
    *,
    force: bool = False,
    input_shape: dict[str, tuple[int, ...]] | None = None,
) -> Result:
    """Carry out ``plan`` on the model it was made for, or on a retrained one with the same nodes."""
    from spa_cli import pipeline
    from spa_cli.files import Files
    from spa_cli.plan import Plan

    chosen = plan if isinstance(plan, Plan) else Plan.read(Path(plan))
    files = Files(None if out is None else Path(out), force=force)
    return pipeline.apply(chosen, model, files, input_shape=input_shape)


def apply_weights(
    plan: PathLike | Plan,
    weights: PathLike | Mapping[str, Any],
    out: PathLike | None = None,
    *,
    model: PathLike | onnx.ModelProto | None = None,
    exported_with: PathLike | Mapping[str, Any] | None = None,
    force: bool = False,
) -> Carried:
    """Carry out ``plan`` on the framework's own weights: a .safetensors, .npz or PyTorch file, or a state dict.

    ``model`` helps where names differ, ``exported_with`` if the weights were trained since the export (the weights as
    they were then). ``result.weights.state`` is what the framework loads; it is also written to ``out`` if given.
    """
    from spa_cli.plan import Plan
    from spa_cli.weights.carry import carry

    chosen = plan if isinstance(plan, Plan) else Path(plan)
    target = None if out is None else Path(out)
    return carry(chosen, weights, target, model=model, exported_with=exported_with, force=force)


def sweep(
    model: PathLike | onnx.ModelProto,
    folder: PathLike,
    *,
    by: str = "macs",
    points: Sequence[float] = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2),
    picture: Sequence[PathLike] = (),
    keep_models: bool = False,
    force: bool = False,
    **options: Any,
) -> Sweep:
    """Try many budgets in ``macs``, ``params``, ``ratio`` or ``latency``; go on in ``folder`` if it was interrupted.

    ``folder`` then holds sweep.json and sweep.csv. ``picture``: files to draw it in, too (.png, .svg, .pdf or .html;
    extra ``report``). ``options``: those of ``prune`` but its budget.
    """
    from spa_cli.atomic import write_text
    from spa_cli.options import Options
    from spa_cli.report.curve import check_picture, draw
    from spa_cli.report.sweep import sweep_csv
    from spa_cli.sweeping import run

    pictures = [Path(p) for p in picture]
    for file in pictures:
        check_picture(file, force)
    coin = by if by == "ratio" else f"target_{by}"
    chosen = Options(ratio=0.5, **options)
    found = run.sweep(model, Path(folder), chosen, coin, tuple(points), keep_models=keep_models, force=force)
    write_text(Path(folder) / "sweep.csv", sweep_csv(found))
    for file in pictures:
        draw(found, file)
    return found


def verify(
    model: PathLike | onnx.ModelProto,
    pruned: PathLike | onnx.ModelProto,
    *,
    plan: PathLike | None = None,
    calib: PathLike | Callable[[], Any] | None = None,
    input_shape: dict[str, tuple[int, ...]] | None = None,
    mean: str | float | Sequence[float] = 0.0,
    std: str | float | Sequence[float] = 1.0,
    layout: str = "auto",
    color: str = "rgb",
    image_range: int = 1,
    tokenizer: PathLike | None = None,
    max_length: int | None = None,
    provider: str | Sequence[str] = "cpu",
    junit: PathLike | None = None,
    **limits: Any,
) -> Comparison:
    """Compare a model with its pruned version: signature, drift, size, latency.

    ``calib`` and how it is read (``mean`` to ``max_length``): as in ``prune``.
    ``provider``: what latency is measured on. ``junit``: where to write the gates as JUnit XML.
    ``limits``: the gates, fields of ``spa_cli.verification.gates.Limits``, named as on the command line;
    ``Comparison.passed`` says whether all let it through, ``Comparison.gates`` what each found.
    """
    from spa_cli.atomic import write_text
    from spa_cli.calibration.reading import Reading
    from spa_cli.errors import SpaError
    from spa_cli.report.json_report import verify_json
    from spa_cli.report.pipelines import check_junit
    from spa_cli.report.pipelines import junit as as_junit
    from spa_cli.verification.compare import compare
    from spa_cli.verification.gates import Limits

    gates, name = Limits(**limits), Path(pruned).name if isinstance(pruned, str | os.PathLike) else "model"
    if junit is not None:
        check_junit(Path(junit), (model, pruned), (plan, calib))
    try:
        found = compare(
            model,
            pruned,
            None if plan is None else Path(plan),
            calib if calib is None or callable(calib) else Path(calib),
            input_shape or {},
            gates,
            Reading.of(mean, std, layout, color, image_range, tokenizer, max_length, input_shape),
            provider,
        )
    except SpaError as error:
        if junit is not None:
            write_text(Path(junit), as_junit({}, name, str(error)))
        raise
    if junit is not None:
        write_text(Path(junit), as_junit(verify_json(found), name))
    return found


def criteria() -> dict[str, Any]:
    """What ``method``, ``aggregation`` and ``normalisation`` know, as ``spa criteria --json`` prints it."""
    from spa_cli.report.criteria import criteria_json

    return criteria_json()


def operators(name: str = "") -> list[Operator]:
    """Every operator whose name contains ``name``: followed, approximate or frozen, and how or why."""
    from spa_cli.report.operators import operators as known

    return [o for o in known() if name.lower() in o.name.lower()]


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of what ``--json`` of a command prints ("prune", "verify", ...), or of plans ("plan").

    Raises UsageError for a name that has none, with those that do.
    """
    from spa_cli.errors import UsageError
    from spa_cli.report import schemas

    wanted = name.removeprefix("spa.").removesuffix("/1")
    if wanted not in schemas.NAMES:
        raise UsageError(f"there is no schema '{name}'; use one of {', '.join(schemas.NAMES)}")
    return schemas.schema(wanted)
