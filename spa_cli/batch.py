"""One file or many: through the cache if there is one, each to its own place, one failure not stopping the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spa_cli import pipeline
from spa_cli.cache import Cache, key_of
from spa_cli.engines import HERE, Asked, Job, engine_of
from spa_cli.errors import OptionError, SpaError, UsageError, first_line, of_memory
from spa_cli.files import Files
from spa_cli.fingerprint import uncacheable
from spa_cli.graph.pair import data_name
from spa_cli.isolation import Bounds
from spa_cli.memory import sharing
from spa_cli.options import Options
from spa_cli.options.sources import InMemory
from spa_cli.progress import LOG, stage
from spa_cli.report.json_report import prune_json
from spa_cli.request import Request
from spa_cli.result import Outcome
from spa_cli.runtime.load import load, not_onnx
from spa_cli.staging import claimed


@dataclass(frozen=True)
class Wanted:
    """Where things go, and how: files for one model, folders for many; ``of_many``: for one of many.

    ``engine``: where the work on one model is done.
    """

    out: Path
    plan_out: Path | None = None
    report: Path | None = None
    force: bool = False
    dry_run: bool = False
    cache: Path | None = None
    of_many: bool = False
    engine: str = HERE


def prune_file(model: Path, options: Options, wanted: Wanted) -> dict[str, Any]:
    """Prune one file and give its ``spa.prune/1``; raises the errors of ``spa_cli.errors``."""
    # words that are not known are said before anything is read or made
    request = Request.of(options)
    key, cache, files = "", None, Files(wanted.out, wanted.plan_out, wanted.report, wanted.force)
    if wanted.cache is not None and not wanted.dry_run:
        why = uncacheable(options)
        if why:
            LOG.warning("this is not cached: %s", why)
        else:
            stage("looking into the cache")
            cache, source = Cache(wanted.cache), load(model)
            places = _places(wanted, source.external)
            files.check(source)
            key = key_of(source, request)
            if source.external:
                # the model names the file that its weights lie in
                key = f"{key}-{wanted.out.name}"
            if wanted.of_many and (options.only or options.ignore):
                # a name that alone is refused may be another model's
                key = f"{key}-of-many"
            found = cache.fetch(key, places, wanted.force)
            if found is not None:
                return {**found, "input": model.name, "output": str(wanted.out), **_beside(wanted), "cached": True}
    result = pipeline.prune(model, options, files, dry_run=wanted.dry_run, of_many=wanted.of_many, engine=wanted.engine)
    report = {**prune_json(result, "spa.prune/1"), **_beside(wanted), "cached": False}
    if cache is not None:
        cache.keep(key, _places(wanted, result.source.external), report)
    return report


def _beside(wanted: Wanted) -> dict[str, str | None]:
    """What else is written, for the report."""
    written = {"plan": wanted.plan_out, "page": wanted.report}
    return {name: str(file) if file is not None and not wanted.dry_run else None for name, file in written.items()}


def _places(wanted: Wanted, external: bool) -> dict[str, Path]:
    """The files of a result, by what they are."""
    beside = wanted.out.with_name(data_name(wanted.out.name)) if external else None
    files = {"model": wanted.out, "data": beside, "plan": wanted.plan_out, "report": wanted.report}
    return {name: file for name, file in files.items() if file is not None}


def prune_files(
    models: Sequence[Path], options: Options, wanted: Wanted, bounds: Bounds | None = None, engine: str = HERE
) -> Iterator[Outcome]:
    """Prune every file, and every .onnx file under every folder, into folders; one outcome each, as they are made.

    ``bounds``: each in a process of its own, which may take so much. ``engine``: where that is done. Raises UsageError,
    before any work, if two would go to the same place or a folder can't be made.
    """
    Request.of(options)
    asked = Asked.of(engine)
    if asked.spread and bounds is None:
        raise OptionError(
            f"--no-isolate can't be used with --engine {engine}, whose workers open every file in a process of its "
            "own; leave one out"
        )
    files = _found(models, wanted.out)
    for name in ("calib", "test"):
        source = getattr(options, name)
        if len(files) > 1 and isinstance(source, InMemory) and source.once:
            raise OptionError(
                f"--{name} is an iterator, which can be read once, and there are {len(files)} models; give a list, or "
                "a function that makes it"
            )
    for flag, folder in (("--output", wanted.out), ("--plan-out", wanted.plan_out), ("--report", wanted.report)):
        if folder is not None and folder.suffix in (".onnx", ".json", ".html") and not folder.is_dir():
            raise UsageError(f"several models go to a folder, and {flag} '{folder}' names a file; name a folder")
    return _outcomes(files, options, wanted, bounds, asked)


def _outcomes(
    files: Mapping[str, Path], options: Options, wanted: Wanted, bounds: Bounds | None, asked: Asked
) -> Iterator[Outcome]:
    made: list[Path] = []
    for folder in (wanted.out, wanted.plan_out, wanted.report):
        if folder is None or folder.is_dir():
            continue
        missing = [p for p in (folder, *folder.parents) if not p.exists()][::-1]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the folder '{folder}' can't be made: {error.strerror or error}; name another") from error
        made += missing
    try:
        share = asked.sharing(len(files))
        jobs = [
            _job(
                file,
                f"{number} of {len(files)}, {name}",
                _working(options, name),
                _own(wanted, name, len(files) > 1),
                share,
            )
            for number, (name, file) in enumerate(files.items(), 1)
        ]
        with _claimed(wanted, files), engine_of(asked, bounds, len(jobs)) as engine:
            for job, done in zip(jobs, engine.map("spa_cli.batch:pruned", jobs), strict=True):
                yield Outcome(job.what, done.value, done.error and (of_memory(done.error) or done.error))
    finally:
        # a dry run, or one in which all failed, leaves no empty folder
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _claimed(wanted: Wanted, names: Iterable[str]) -> Iterator[None]:
    """Nobody else makes the same meanwhile: of two, one would have some of it, and the other the rest."""
    with ExitStack() as claims:
        places = _places_of_all(wanted, names) if not (wanted.force or wanted.dry_run) else {}
        for folder, own in places.items():
            try:
                claims.enter_context(claimed(folder, own))
            except FileExistsError as error:
                raise UsageError(
                    f"another 'spa prune' is about to write '{error}' to the folder '{folder}'; name another folder, "
                    "or use --force"
                ) from error
        yield


def _places_of_all(wanted: Wanted, names: Iterable[str]) -> dict[Path, list[str]]:
    """The names of what is made, by folder."""
    found: dict[Path, list[str]] = {}
    for name in names:
        for file in _places(_own(wanted, name, True), False).values():
            found.setdefault(file.parent, []).append(file.name)
    return found


def _job(file: Path, step: str, options: Options, own: Wanted, share: int) -> Job:
    # what is not there now, and is when it has to be done again, was made by the worker that died
    fresh = not any(p is not None and p.exists() for p in (own.out, own.plan_out, own.report))
    again = (file, options, replace(own, force=True), share) if fresh else None
    return Job(str(file), step, (file, options, own, share), again)


def pruned(file: Path, options: Options, wanted: Wanted, share: int = 1) -> dict[str, Any]:
    """One of many: as ``prune_file``, and what nobody foresaw stops the others as little (SpaError).

    ``share``: so many work at the same time on this machine.
    """
    try:
        with sharing(share):
            return prune_file(file, options, wanted)
    except SpaError:
        raise
    except Exception as error:
        raise of_memory(error) or SpaError(
            f"an unexpected {type(error).__name__} ({first_line(error)}); prune this model alone with --debug"
        ) from error


def _own(wanted: Wanted, name: str, of_many: bool) -> Wanted:
    """Where the things of one file of many go."""
    stem = name.removesuffix(".onnx")

    def inside(folder: Path | None, suffix: str) -> Path | None:
        return None if folder is None else folder / f"{stem}{suffix}"

    plan, page = inside(wanted.plan_out, ".json"), inside(wanted.report, ".html")
    return replace(wanted, out=wanted.out / name, plan_out=plan, report=page, of_many=of_many)


def _working(options: Options, name: str) -> Options:
    """The same, with a folder for its work inside of that of all."""
    return options if options.work is None else replace(options, work=Path(options.work) / name.removesuffix(".onnx"))


def _found(models: Sequence[Path], out: Path) -> dict[str, Path]:
    """The files, but what an earlier run made, by the name of their results: paths in a folder with "-" for "/"."""
    found: dict[str, Path] = {}
    for model in models:
        inside = [model]
        if model.is_dir():
            results = out.resolve() if out.resolve() != model.resolve() else None
            found_in = (f for f in sorted(model.rglob("*.onnx")) if f.is_file())
            inside = [f for f in found_in if results not in f.resolve().parents]
        if not inside:
            raise not_onnx(model) or UsageError(
                f"the folder '{model}' holds no .onnx file; name a file, or another folder"
            )
        for file in inside:
            name = "-".join(file.relative_to(model).parts) if model.is_dir() else file.name
            if name in found:
                raise UsageError(
                    f"'{found[name]}' and '{file}' would both become '{name}'; rename one, or prune them one by one"
                )
            found[name] = file
    return found
