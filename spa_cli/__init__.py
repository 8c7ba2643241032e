"""Structurally prune any trained network in an ONNX file.

The same verbs as the commands, taking a path or a ``ModelProto``::

    import spa_cli

    analysis = spa_cli.inspect("model.onnx")
    result = spa_cli.prune("model.onnx", "small.onnx", ratio=0.3, method="l1")
    spa_cli.apply("plan.json", "retrained.onnx", "small.onnx")
    curve = spa_cli.sweep("model.onnx", "sweep", points=(0.8, 0.5))
    tuned = spa_cli.tune("small.onnx", "model.onnx", "tuned.onnx", minutes=5)
    report = spa_cli.verify("model.onnx", "small.onnx")

``prune_many`` takes many files, or folders of them; ``criteria``, ``devices``, ``operators`` and ``schema`` say what
the commands of that name print. What goes on is logged to the logger ``spa_cli``.

All raise subclasses of ``spa_cli.SpaError``: ``OptionError`` (a ``UsageError``) for arguments that can't be used,
``ModelError``, ``VerificationError``, ``UnreachableError``, ``ResourceError``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spa_cli import moved, prompts
from spa_cli.errors import (
    ModelError,
    OptionError,
    ResourceError,
    SpaError,
    UnreachableError,
    UsageError,
    VerificationError,
)
from spa_cli.listings import Package, criteria, devices, operators, schema
from spa_cli.options import POINTS
from spa_cli.options.wording import spoken as _spoken
from spa_cli.options.words import file as _file
from spa_cli.options.words import path_of as _path
from spa_cli.version import __version__

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from spa_cli.analysis import Analysis
    from spa_cli.options.arguments import (
        InspectArguments,
        PruneArguments,
        SweepArguments,
        TuneArguments,
        VerifyArguments,
    )
    from spa_cli.options.shapes import InputShapes
    from spa_cli.plan import Plan
    from spa_cli.progress import Wanted
    from spa_cli.result import Outcome, Result
    from spa_cli.runtime.load import Model
    from spa_cli.sweeping.run import Sweep
    from spa_cli.tuning.result import TuneResult
    from spa_cli.tuning.train import Point
    from spa_cli.verification.compare import Comparison
    from spa_cli.weights.carry import Carried

__all__ = [
    "ModelError",
    "OptionError",
    "ResourceError",
    "SpaError",
    "UnreachableError",
    "UsageError",
    "VerificationError",
    "__version__",
    "apply",
    "apply_weights",
    "criteria",
    "devices",
    "inspect",
    "operators",
    "prune",
    "prune_many",
    "schema",
    "sweep",
    "tune",
    "verify",
]

moved.install()
prompts.install()
sys.modules[__name__].__class__ = Package

PathLike = str | os.PathLike[str]


@_spoken
def inspect(
    model: Model,
    *,
    html: PathLike | None = None,
    force: bool = False,
    progress: Wanted = None,
    **options: Unpack[InspectArguments],
) -> Analysis:
    """Groups of coupled channels, frozen axes with reasons, and costs of ``model``.

    ``html``: where to write them as a page with figures, too (extra ``report``).
    """
    from spa_cli.analysis import analyse_model
    from spa_cli.atomic import write_text
    from spa_cli.folders.models import its_model
    from spa_cli.options import Options
    from spa_cli.progress import stage
    from spa_cli.report.page.inspect import inspect_page
    from spa_cli.report.page.render import check_page
    from spa_cli.runtime.load import load
    from spa_cli.tidy.optional_inputs import by_habit, untidy

    asked, page = Options.of(options), _file(html)
    stage("reading the model")
    source = load(its_model(model))
    if page is not None:
        check_page(page, source, force, "--html")
    advice = ["'spa prune' takes {} off the inputs"] if by_habit(source) else []
    if warning := untidy(source, *advice):
        source.warnings.append(warning)
    stage("finding which channels depend on each other")
    analysis = analyse_model(source, asked.input_shape, shrinking=asked.shrinking)
    if page is not None:
        stage("measuring and drawing")
        write_text(page, inspect_page(analysis, source), force=force)
    return analysis


@_spoken
def prune(
    model: Model,
    out: PathLike | None = None,
    *,
    force: bool = False,
    plan_out: PathLike | None = None,
    report: PathLike | None = None,
    dry_run: bool = False,
    engine: str = "here",
    progress: Wanted = None,
    **options: Unpack[PruneArguments],
) -> Result:
    """Prune ``model``; ``options`` are the fields of ``spa_cli.options.Options``, named as on the command line.

    ``result.model`` is the small model; it is also written to ``out`` if given, and all there is to see of it to
    ``report``, an HTML page (extra ``report``). A folder with one model beside a config.json or genai_config.json
    becomes such a folder; ``result.numbers`` is what those files say anew. ``engine``: where what is measured on
    samples is done, as for ``prune_many``.
    """
    from spa_cli import pipeline
    from spa_cli.files import Files
    from spa_cli.folders.prune import prune_folder
    from spa_cli.folders.recognise import folder_of
    from spa_cli.options import Options

    files = Files(_file(out), _file(plan_out), _file(report), force)
    if (folder := folder_of(model)) is not None:
        return prune_folder(folder, Options.of(options), files.out, files, dry_run=dry_run, engine=engine)
    return pipeline.prune(model, Options.of(options), files, dry_run=dry_run, engine=engine)


@_spoken
def prune_many(
    models: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    force: bool = False,
    plan_out: PathLike | None = None,
    report: PathLike | None = None,
    dry_run: bool = False,
    cache: PathLike | None = None,
    isolate: bool = True,
    time_limit: float = 3600.0,
    memory_limit: str | int | None = None,
    engine: str = "here",
    progress: Wanted = None,
    **options: Unpack[PruneArguments],
) -> Iterator[Outcome]:
    """Prune files, and every .onnx file under folders, into the folder ``out``; one ``Outcome`` each, as they are made.

    ``plan_out`` and ``report`` are folders, too; ``cache``: a folder that remembers results by what is in the files.
    ``options``: as for ``prune``. A file that fails is an ``Outcome`` that says why, and does not stop the rest.
    ``isolate``: files are opened in a process of its own, which may take ``time_limit`` seconds for each and
    ``memory_limit`` bytes (text like 8GB; all that the machine has); one that crashes it fails like others.
    ``engine``: where that is done: "here", "dask" (workers on this machine), "dask:4" (so many), or "dask://HOST:PORT"
    (a cluster; extra ``dask``).
    """
    from spa_cli.batch import Wanted, prune_files
    from spa_cli.isolation import Bounds
    from spa_cli.options import Options
    from spa_cli.options.words import size

    bounds = Bounds(time_limit, size(memory_limit, "--memory-limit")) if isolate else None
    wanted = Wanted(Path(out), _file(plan_out), _file(report), force, dry_run, _file(cache))
    # a path is one, never its characters, of which "/" is a folder of everything
    listed = [models] if isinstance(models, str | os.PathLike) else models
    return prune_files([_path(m, "a model") for m in listed], Options.of(options), wanted, bounds, engine)


@_spoken
def apply(
    plan: PathLike | Plan,
    model: Model,
    out: PathLike | None = None,
    *,
    force: bool = False,
    input_shape: InputShapes = None,
    run: bool = True,
    progress: Wanted = None,
) -> Result:
    """Carry out ``plan`` on the model it was made for, or on a retrained one with the same nodes.

    A folder with a model and its configuration becomes such a folder, as in ``prune``. ``run=False``: for a model that
    onnxruntime can't run; it is checked by its structure, and in the parts that do run.
    """
    from spa_cli import pipeline
    from spa_cli.files import Files
    from spa_cli.folders.prune import apply_to_folder
    from spa_cli.folders.recognise import folder_of
    from spa_cli.options.shapes import shapes
    from spa_cli.plan import Plan

    chosen = plan if isinstance(plan, Plan) else Plan.read(_path(plan, "a plan"))
    files, given = Files(_file(out), force=force), shapes(input_shape)
    if (folder := folder_of(model)) is not None:
        return apply_to_folder(chosen, folder, files.out, files, input_shape=given, run=run)
    return pipeline.apply(chosen, model, files, input_shape=given, run=run)


@_spoken
def apply_weights(
    plan: PathLike | Plan,
    weights: PathLike | Mapping[str, Any],
    out: PathLike | None = None,
    *,
    model: Model | None = None,
    exported_with: PathLike | Mapping[str, Any] | None = None,
    repaired: Model | None = None,
    force: bool = False,
    progress: Wanted = None,
) -> Carried:
    """Carry out ``plan`` on the framework's own weights: a .safetensors, .npz or PyTorch file, or a state dict.

    ``model`` helps where names differ, ``exported_with`` if the weights were trained since the export (the weights as
    they were then). ``repaired`` is the pruned model: the smaller weights then have the values that its repair gave
    them, so that fine-tuning starts from those. ``result.weights.state`` is what the framework loads; it is also
    written to ``out`` if given.
    """
    from spa_cli.plan import Plan
    from spa_cli.weights.carry import carry

    chosen = plan if isinstance(plan, Plan) else _path(plan, "a plan")
    return carry(chosen, weights, _file(out), model=model, exported_with=exported_with, repaired=repaired, force=force)


@_spoken
def sweep(
    model: Model,
    folder: PathLike,
    *,
    by: str = "macs",
    points: str | Sequence[float] = POINTS,
    picture: PathLike | Sequence[PathLike] = (),
    keep_models: bool = False,
    force: bool = False,
    engine: str = "here",
    progress: Wanted = None,
    **options: Unpack[SweepArguments],
) -> Sweep:
    """Try many budgets in ``macs``, ``params``, ``ratio`` or ``latency``; go on in ``folder`` if it was interrupted.

    ``folder`` then holds sweep.json and sweep.csv. ``picture``: files to draw it in, too (.png, .svg, .pdf or .html;
    extra ``report``). ``engine``: where budgets are tried, as for ``prune_many``. ``options``: those of ``prune`` but
    its budget.
    """
    from spa_cli.atomic import write_text
    from spa_cli.folders.models import opened
    from spa_cli.options import Options
    from spa_cli.report.curve import check_picture, draw
    from spa_cli.report.sweep import sweep_csv
    from spa_cli.sweeping import run

    (source, chosen), budgets = opened(model, Options.of(options)), run.budgets_in(points)
    if chosen.budgets:
        raise OptionError(f"a sweep tries the budgets of --points; leave out {', '.join(chosen.budgets)}")
    pictures = [Path(picture)] if isinstance(picture, str | os.PathLike) else [Path(p) for p in picture]
    for drawn in pictures:
        check_picture(drawn, force)
    coin = by if by == "ratio" else f"target_{by}"
    found = run.sweep(source, Path(folder), chosen, coin, budgets, keep_models=keep_models, force=force, engine=engine)
    write_text(Path(folder) / "sweep.csv", sweep_csv(found))
    for drawn in pictures:
        draw(found, drawn, force)
    return found


@_spoken
def tune(
    pruned: Model,
    teacher: Model,
    out: PathLike | None = None,
    *,
    plan: PathLike | Plan | None = None,
    report: PathLike | None = None,
    force: bool = False,
    step_done: Callable[[Point], None] | None = None,
    progress: Wanted = None,
    **options: Unpack[TuneArguments],
) -> TuneResult:
    """Train ``pruned`` to give what ``teacher``, which it was made of, gives: no labels, no training code.

    ``plan``: what it was made by, if that is at hand: what is left of every sum inside is matched then.
    ``options``: how long and how (``minutes`` to ``trainable``), and on which samples, as in ``prune``. ``step_done``
    is told how far it is, some twelve times. ``result.model`` is the trained model; it is also written to ``out``, and
    how training went to ``report``, an HTML page (extra ``report``). A model folder becomes such a folder.
    """
    from spa_cli import pipeline
    from spa_cli.files import Files
    from spa_cli.folders.models import its_model, opened
    from spa_cli.folders.prune import tune_folder
    from spa_cli.folders.recognise import folder_of
    from spa_cli.options import Options
    from spa_cli.options.arguments import TrainingArguments
    from spa_cli.options.tune import Training
    from spa_cli.plan import Plan

    given: dict[str, Any] = dict(options)
    asked = {name: given.pop(name) for name in TrainingArguments.__optional_keys__ & given.keys()}
    files = Files(_file(out), report=_file(report), force=force)
    read = plan if plan is None or isinstance(plan, Plan) else Plan.read(_path(plan, "a plan"))
    told, reading = Training.of(asked), Options.of(given)
    if (own := folder_of(pruned)) is not None:
        return tune_folder(own, its_model(teacher), reading, told, files, plan=read, step_done=step_done)
    original, reading = opened(teacher, reading)
    return pipeline.tune(pruned, original, reading, told, files, plan=read, step_done=step_done)


@_spoken
def verify(
    model: Model,
    pruned: Model,
    *,
    plan: PathLike | None = None,
    junit: PathLike | None = None,
    samples: int | None = None,
    progress: Wanted = None,
    **options: Unpack[VerifyArguments],
) -> Comparison:
    """Compare a model with its pruned version: signature, drift, size, latency.

    ``junit``: where to write the gates as JUnit XML. ``samples``: how many of those in ``calib`` to look at, spread
    over them (default: all). ``options``: ``calib`` and how it is read (``mean`` to ``max_length``), ``judge_as``,
    ``evaluate``, ``input_shape`` and ``provider`` as in ``prune``, and the gates, which are the fields of
    ``spa_cli.verification.gates.Limits``; ``Comparison.passed`` says whether all let the model through,
    ``Comparison.gates`` what each found.
    """
    from spa_cli.atomic import write_text
    from spa_cli.folders.models import its_model, opened
    from spa_cli.options import Options
    from spa_cli.options.arguments import JudgeArguments
    from spa_cli.options.declare import made
    from spa_cli.options.limits import Limits
    from spa_cli.report.json_report import verify_json
    from spa_cli.report.pipelines import check_junit
    from spa_cli.report.pipelines import junit as as_junit
    from spa_cli.verification.compare import compare

    given: dict[str, Any] = dict(options)
    data = {name: given.pop(name) for name in JudgeArguments.__optional_keys__ & given.keys()}
    name = Path(pruned).name if isinstance(pruned, str | os.PathLike) else "model"
    gates = made(Limits, given, beside=JudgeArguments.__optional_keys__)
    (model, reading), pruned = opened(model, Options.of(data)), its_model(pruned)
    target = _file(junit)
    if target is not None:
        check_junit(target, (model, pruned), (plan, data.get("calib")))
    try:
        found = compare(model, pruned, _file(plan), reading, gates, samples)
    except SpaError as error:
        if target is not None:
            write_text(target, as_junit({}, name, str(error)))
        raise
    if target is not None:
        write_text(target, as_junit(verify_json(found), name))
    return found
