"""Parameters of commands: those that several have, and those that are made of the declared options."""

from __future__ import annotations

import inspect
import os
from dataclasses import Field
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from spa_cli.options import Options
from spa_cli.options.arguments import LimitArguments, TrainingArguments
from spa_cli.options.declare import About, declared
from spa_cli.options.limits import Limits
from spa_cli.options.tune import Training

# those that name what is written
WRITTEN = ("output", "plan_out", "report", "picture", "html", "junit", "cache", "log_file")
ModelFile = Annotated[Path, typer.Argument(help="The .onnx file, or a model folder.", show_default=False)]
Out = Annotated[Path, typer.Option("-o", "--output", help="Where to write the small model.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]

Engine = Annotated[
    str,
    typer.Option(
        help="Where models, budgets, or the samples of one model are worked on: here (one after the other), dask "
        "(workers on this machine), dask:4 (so many), dask://HOST:PORT (a cluster; extra dask)."
    ),
]

_APART = "Isolation"
Isolate = Annotated[
    bool | None,
    typer.Option(
        "--isolate/--no-isolate",
        help="Open files in a process of its own, which may crash or hang (default: where there are several).",
        rich_help_panel=_APART,
        show_default=False,
    ),
]
TimeLimit = Annotated[
    float, typer.Option(help="Seconds that such a process may take for one file.", rich_help_panel=_APART)
]
MemoryLimit = Annotated[
    str | None,
    typer.Option(
        help="What it may take of memory, like 8GB (default: all that the machine has; Linux only).",
        rich_help_panel=_APART,
        show_default=False,
    ),
]


def made_of(arguments: Any) -> list[inspect.Parameter]:
    """One parameter for each option in ``arguments``, a class of ``spa_cli.options.arguments``."""
    of = {LimitArguments: Limits, TrainingArguments: Training}.get(arguments, Options)
    hints = get_type_hints(of)
    return [
        _parameter(one, about, kind(hints[one.name], about))
        for one, about in declared(of)
        if one.name in arguments.__optional_keys__
    ]


def _parameter(one: Field[Any], about: About, of: Any) -> inspect.Parameter:
    default = None if one.default in (None, ()) else one.default
    if of is str and isinstance(default, float):
        default = f"{default:g}"
    # without a flag of its own, Typer would add --no-...
    flags = about.flags or ((f"--{one.name.replace('_', '-')}",) if one.type == "bool" else ())
    shown = typer.Option(*flags, help=about.help, rich_help_panel=about.panel, show_default=default is not None)
    annotation: Any = Annotated[of if default is not None else of | None, shown]
    return inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def kind(hint: Any, about: About | None = None) -> Any:
    """What the command line takes for an option of this type: a path or text where that is one way to give it."""
    if get_origin(hint) in (tuple, dict):
        return list[str]
    if about is not None and about.read is not None:
        hint = get_type_hints(about.read)["given"]
    kinds = [get_origin(part) or part for part in get_args(hint) or (hint,) if part is not type(None)]
    if Path in kinds or os.PathLike in kinds:
        return Path
    return str if str in kinds else kinds[0]
