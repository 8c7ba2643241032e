"""What a result depends on, as JSON has it: the key of a sweep that goes on and of the cache."""

from __future__ import annotations

import functools
import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from spa_cli.calibration.digest import digest
from spa_cli.devices.profiles import HERE, is_file
from spa_cli.devices.store import machine
from spa_cli.errors import OptionError
from spa_cli.graph.source import Source
from spa_cli.options import BUDGETS, Options
from spa_cli.options.sources import InMemory
from spa_cli.request import Request

# others may round, draw or read differently
_PARTS = ("numpy", "onnx", "onnxruntime", "pillow", "tokenizers", "datasets")


def choices(request: Request) -> dict[str, Any]:
    """Everything but the budget; files by what is in them. Raises UsageError for one that can't be read."""
    found = {k: v for k, v in vars(request.options).items() if k not in {*BUDGETS, "sweeping", "work"}}
    for name in ("calib", "test", "tokenizer"):
        found[name] = found[name] and digest(found[name])
    if callable(request.options.evaluate):
        found["evaluate"] = digest(request.options.evaluate)
    if is_file(request.options.device):
        found["device"] = digest(Path(request.options.device))
    scores = [p.argument for p in request.recipe.parts if p.argument]
    return {**found, "scores": [digest(Path(file)) for file in scores]}


def contents(source: Source) -> list[str]:
    """SHA-256 of a model's files, or of what is in memory."""
    if source.path is None:
        return [hashlib.sha256(source.model.SerializeToString(deterministic=True)).hexdigest()]
    return [digest(file) for file in (source.path, *source.data_files)]


def uncacheable(options: Options) -> str:
    """Why a result is made anew each time; "" if it need not be."""
    if options.target_latency is not None and options.device == HERE:
        return "--target-latency is measured each time"
    if options.evaluate is not None:
        return "what --eval says may change"
    if any(isinstance(source, InMemory) and source.fleeting for source in (options.calib, options.test)):
        return "what an iterable gives as samples may change"
    if callable(options.calib) or callable(options.test) or ":" in f"{options.calib}{options.test}":
        return "what a function gives as samples may change"
    return ""


def identity(source: Source, request: Request) -> dict[str, Any]:
    """All that a result depends on, by part."""
    parts: dict[str, Any] = {
        "files": contents(source),
        "budget": request.options.budgets,
        "choices": choices(request),
        "program": program(),
    }
    if request.options.round_to == "auto" and not request.elsewhere:
        # by which widths were chosen
        parts["machine"] = machine()
    return parts


def repeatable(source: Source, request: Request) -> dict[str, Any]:
    """The ``identity`` of what can be gone on with; raises OptionError where it may be another the next time."""
    if why := uncacheable(request.options):
        raise OptionError(f"--work goes on with what was done for the same samples and budget, and {why}; leave it out")
    return identity(source, request)


@functools.cache
def program() -> dict[str, str]:
    """What computes: this package to the letter (a clone keeps its version), the libraries, the processor's kind."""
    files = sorted(f for f in Path(__file__).parent.rglob("*") if f.suffix in (".py", ".j2", ".toml"))
    own = hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()
    return {"spa": own, "machine": platform.machine(), **{p: _version(p) for p in _PARTS}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
