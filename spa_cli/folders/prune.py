"""``spa prune``, ``spa apply`` and ``spa tune`` of a model folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from spa_cli import pipeline
from spa_cli.atomic import refusing
from spa_cli.batch import Wanted
from spa_cli.channels.naming import INSIDE, RESIDUAL
from spa_cli.engines import HERE
from spa_cli.errors import UsageError
from spa_cli.files import Files
from spa_cli.folders import keys
from spa_cli.folders.models import by_its_tokenizer
from spa_cli.folders.recognise import ModelFolder
from spa_cli.folders.write import FolderFiles
from spa_cli.isolation import Bounds, calling
from spa_cli.options import Options
from spa_cli.options.tune import Training
from spa_cli.plan import Plan
from spa_cli.progress import LOG, note
from spa_cli.report.json_report import prune_json
from spa_cli.result import Result
from spa_cli.runtime.load import Model
from spa_cli.staging import private
from spa_cli.tuning.result import TuneResult
from spa_cli.tuning.train import Point

T = TypeVar("T")

# suffixes of files with weights as a framework has them
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack")


def prune_folder(
    folder: ModelFolder,
    options: Options,
    out: Path | None,
    files: Files = Files(),
    *,
    dry_run: bool = False,
    engine: str = HERE,
) -> Result:
    """Prune the model of a folder, and write ``out`` with it: numbers as they are now, the rest as it was.

    ``files``: what is written beside, and whether over what is there; ``engine``: as for ``pipeline.prune``. Raises the
    errors of ``spa_cli.errors``.
    """
    asked = _options(folder, options)

    def work(f: Files) -> Result:
        return pipeline.prune(folder.model, asked, f, dry_run=dry_run, engine=engine)

    made, inside = _made(folder, out, files, work)
    return _told(made, inside, None if dry_run else out)


def apply_to_folder(
    plan: Plan,
    folder: ModelFolder,
    out: Path | None,
    files: Files,
    *,
    input_shape: dict[str, tuple[int, ...]] | None = None,
    run: bool = True,
) -> Result:
    """Carry out a plan on the model of a folder, and write ``out`` with it, as ``prune_folder`` does."""

    def work(f: Files) -> Result:
        return pipeline.apply(plan, folder.model, f, input_shape=input_shape, run=run)

    return _told(*_made(folder, out, files, work), out)


def tune_folder(
    folder: ModelFolder,
    teacher: Model,
    options: Options,
    asked: Training,
    files: Files,
    *,
    plan: Plan | None = None,
    step_done: Callable[[Point], None] | None = None,
) -> TuneResult:
    """Train the model of a folder, and write ``files.out`` with it; nothing else in it changes. ``teacher``: a model.

    Raises the errors of ``spa_cli.errors``.
    """
    reading = by_its_tokenizer(folder, options)

    def work(f: Files) -> TuneResult:
        return pipeline.tune(folder.model, teacher, reading, asked, f, plan=plan, step_done=step_done)

    found, _ = _made(folder, files.out, files, work)
    return replace(found, out=files.out)


def _made(
    folder: ModelFolder, out: Path | None, files: Files, work: Callable[[FolderFiles], T]
) -> tuple[T, FolderFiles]:
    """What comes of the work, which is given files inside of a folder that becomes ``out``, and those files."""
    if out is None:
        aside = FolderFiles(None, files.plan_out, files.report, files.force, folder)
        return work(aside), aside
    _check_apart(folder.path, out)
    with ExitStack() as stack:
        with refusing(out, "folder"):
            made = stack.enter_context(private(out.parent, None)).path / out.name
            made.mkdir()
        inside = FolderFiles(made / folder.model.name, files.plan_out, files.report, files.force, folder, out)
        return work(inside), inside


def pruned(folder: ModelFolder, options: Options, wanted: Wanted) -> dict[str, Any]:
    """Prune it and give its ``spa.prune/1``."""
    if wanted.cache is not None:
        LOG.warning("--cache keeps models alone, not with the files beside them; nothing is taken from it")
    files = Files(None, wanted.plan_out, wanted.report, wanted.force)
    result = prune_folder(folder, options, wanted.out, files, dry_run=wanted.dry_run, engine=wanted.engine)
    others = {"plan": wanted.plan_out, "page": wanted.report}
    told = {name: str(file) if file is not None and not wanted.dry_run else None for name, file in others.items()}
    return {**prune_json(result, "spa.prune/1"), **told, "cached": False}


def prune_folder_apart(
    folder: ModelFolder, options: Options, wanted: Wanted, bounds: Bounds | None = None
) -> dict[str, Any]:
    """The same in a process of its own, which may take so much (``bounds``)."""
    with calling(bounds) as child:
        if child is None:
            return pruned(folder, options, wanted)
        name: dict[str, Any] = child.call(
            str(folder.path), folder.path.name, "spa_cli.folders.prune:pruned", folder, options, wanted
        )
        return name


def _options(folder: ModelFolder, options: Options) -> Options:
    """What is asked for, and what goes without saying here."""
    names = " and ".join(f"'{config.file}'" for config in folder.configs)
    if options.uniform is None:
        options = replace(options, uniform=True)
        note(f"{names} beside the model: every layer of a role keeps as many channels (--no-uniform: not)")
    if options.uniform:
        options = replace(options, whole=_whole(folder, options))
    return by_its_tokenizer(folder, options)


def _whole(folder: ModelFolder, options: Options) -> tuple[str, ...]:
    """What would most likely come out so that no number says it.

    Queries and values have one number for the channels of a head; where there is none, and no key to add, caches are
    made by the width of the residual over the number of heads.
    """
    said = [bool(config.first(keys.PER_HEAD)) for config in folder.configs]
    added = [all(config.number(key) for key in keys.READS_PER_HEAD) for config in folder.configs]
    inside = any(said) or options.shrinking is not None
    lacks = folder.cached and not all(a or b for a, b in zip(said, added, strict=True))
    return (INSIDE,) * inside + (RESIDUAL,) * lacks


def _told(result: Result, files: FolderFiles, out: Path | None) -> Result:
    stale = sorted(f.name for f in files.folder.path.iterdir() if f.suffix in _WEIGHTS) if files.folder else []
    warnings = list(result.warnings)
    if stale and out is not None:
        warnings.append(
            f"'{stale[0]}' was copied as it is, with the weights of the original; cut it by --plan-out and 'spa apply "
            "--weights', or take it out"
        )
    return replace(result, out=out, numbers=files.numbers, warnings=warnings)


def _check_apart(folder: Path, out: Path) -> None:
    if out.suffix in (".onnx", ".json") and not out.is_dir():
        raise UsageError(
            f"a model folder becomes a folder, and --output '{out}' is called as a file is; give another name"
        )
    one, other = folder.resolve(), out.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise UsageError(f"the output folder '{out}' and the folder '{folder}' lie in each other; name another")
    if not out.parent.is_dir():
        raise UsageError(f"the folder '{out.parent}' does not exist; create it first")
