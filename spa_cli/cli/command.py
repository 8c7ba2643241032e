"""What every command has: its options, its log, and errors as one sentence with a documented exit code."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, is_typeddict

import typer

from spa_cli.cli.failures import guarded, tell, wants_json
from spa_cli.cli.parameters import WRITTEN, Isolate, MemoryLimit, TimeLimit, made_of

_OUTPUT = "Output"
# parameters of a command's function that no option gives
_WORKED_OUT = {"bounds"}
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no warnings.", rich_help_panel=_OUTPUT)]
_Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say every step on stderr.", rich_help_panel=_OUTPUT)]
_LogFile = Annotated[
    Path | None,
    typer.Option(help="Append all that is done to this file.", rich_help_panel=_OUTPUT, show_default=False),
]
_Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.", rich_help_panel=_OUTPUT)]


def _configure(context: typer.Context, given: Path | None) -> Path | None:
    from spa_cli.cli.config import defaults
    from spa_cli.errors import SpaError

    try:
        used, context.default_map = defaults(context, given)
    except SpaError as error:
        tell(error.exit_code, error.kind, str(error), wants_json(context))
        raise typer.Exit(error.exit_code) from None
    return used


_Config = Annotated[
    Path | None,
    typer.Option(
        help="Options from this TOML file (default: spa.toml, or tool.spa in pyproject.toml, here or above).",
        is_eager=True,
        callback=_configure,
        rich_help_panel=_OUTPUT,
        show_default=False,
    ),
]


def _common(
    config: _Config = None,
    quiet: _Quiet = False,
    verbose: _Verbose = False,
    log_file: _LogFile = None,
    debug: _Debug = False,
) -> None:
    """The options of every command."""


def _apart(isolate: Isolate = None, time_limit: TimeLimit = 3600.0, memory_limit: MemoryLimit = None) -> None:
    """The options of every command that opens a model."""


def command(kept: str | None = None, opens: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function; ``kept``: what is left behind if it does not come to its end (``None``: which
    files were written is told).

    ``opens``: the parameter with the model that it opens, in a process of its own where that is asked for; several
    models get one each by what the command calls (``bounds``). A parameter that is a class of
    ``spa_cli.options.arguments`` stands for all the options in it. The command also has the options that all have.
    """

    def make(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True)
        shared = [
            *(inspect.signature(_apart, eval_str=True).parameters.values() if opens else ()),
            *inspect.signature(_common, eval_str=True).parameters.values(),
        ]
        groups = {p.name: made_of(p.annotation) for p in own.parameters.values() if is_typeddict(p.annotation)}

        @functools.wraps(function)
        def run(**given: Any) -> None:
            config = given.pop("config")
            debug, quiet, verbose, log_file = (given.pop(n) for n in ("debug", "quiet", "verbose", "log_file"))
            for name, options in groups.items():
                given[name] = {o.name: given.pop(o.name) for o in options}
            from spa_cli.cli.listen import listening
            from spa_cli.options.wording import COMMAND_LINE, speaking
            from spa_cli.progress import stage
            from spa_cli.threads import on_one_thread

            with guarded(debug, kept, bool(given.get("json"))), speaking(COMMAND_LINE):
                # before the log file is made
                _require_files({**given, "log_file": log_file})
                on_one_thread()
                with listening(quiet, verbose, log_file), _noted(debug):
                    if config is not None:
                        stage(f"options from '{config}'")
                    if opens:
                        _isolated(given, given[opens])
                    function(**given)

        told = [part for p in own.parameters.values() for part in groups.get(p.name, [p])]
        parameters = [
            p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*told, *shared) if p.name not in _WORKED_OUT
        ]
        run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return make


def _require_files(given: dict[str, Any]) -> None:
    """Raise OptionError where "-" is to be written to, as if it were standard output."""
    from spa_cli.errors import OptionError

    for name in WRITTEN:
        several = given.get(name) if isinstance(given.get(name), list) else [given.get(name)]
        if any(str(file) == "-" for file in several or ()):
            raise OptionError(
                f"--{name.replace('_', '-')} '-' is no file, and only tables and --json go to standard output; "
                "give a file name"
            )


def _isolated(given: dict[str, Any], opened: Path | list[Path] | None) -> None:
    """Take the options of isolation, and leave with what a child process leaves with if that is asked for."""
    isolate, seconds, memory = (given.pop(name) for name in ("isolate", "time_limit", "memory_limit"))
    if isolate is None and not isinstance(opened, list):
        return
    from spa_cli.isolation import Bounds, inside, rerun
    from spa_cli.options.words import size

    bounds = Bounds(seconds, size(memory, "--memory-limit"))
    several = isinstance(opened, list) and (len(opened) > 1 or opened[0].is_dir())
    if isinstance(opened, list):
        given["bounds"] = bounds if several and isolate is not False else None
    if isolate and not several and not inside():
        what = opened[0] if isinstance(opened, list) else opened
        raise typer.Exit(rerun(sys.argv[1:], bounds, str(what)))


@contextlib.contextmanager
def _noted(debug: bool) -> Iterator[None]:
    """Errors also go to the log file, with where they come from."""
    from spa_cli.progress import LOG

    try:
        yield
    except typer.Exit:
        raise
    except BaseException as error:
        LOG.error("%s", str(error) or type(error).__name__, exc_info=not debug)
        raise
