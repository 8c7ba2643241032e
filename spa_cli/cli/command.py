"""What every command has: its options, its log, and errors as one sentence with a documented exit code."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, is_typeddict

import typer

from spa_cli.cli.failures import guarded, tell, wants_json
from spa_cli.cli.parameters import WRITTEN, made_of

_OUTPUT = "Output"
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
        help="Options from this TOML file (default: spa.toml or \\[tool.spa] of pyproject.toml, here or above).",
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


def command(kept: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function; ``kept``: what is left behind if it does not come to its end (``None``: which
    files were written is told).

    A parameter that is a class of ``spa_cli.options.arguments`` stands for all the options in it. The command also has
    the options that all have.
    """

    def make(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True)
        shared = inspect.signature(_common, eval_str=True).parameters.values()
        groups = {p.name: made_of(p.annotation) for p in own.parameters.values() if is_typeddict(p.annotation)}

        @functools.wraps(function)
        def run(**given: Any) -> None:
            config = given.pop("config")
            debug, quiet, verbose, log_file = (given.pop(n) for n in ("debug", "quiet", "verbose", "log_file"))
            for name, options in groups.items():
                given[name] = {o.name: given.pop(o.name) for o in options}
            from spa_cli.cli.listen import listening
            from spa_cli.cli.threads import on_one_thread
            from spa_cli.progress import stage

            with guarded(debug, kept, bool(given.get("json"))):
                # before the log file is made
                _require_files({**given, "log_file": log_file})
                on_one_thread()
                with listening(quiet, verbose, log_file), _noted(debug):
                    if config is not None:
                        stage(f"options from '{config}'")
                    function(**given)

        told = [part for p in own.parameters.values() for part in groups.get(p.name, [p])]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*told, *shared)]
        run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return make


def _require_files(given: dict[str, Any]) -> None:
    """Raise UsageError where "-" is to be written to, as if it were standard output."""
    from spa_cli.errors import UsageError

    for name in WRITTEN:
        several = given.get(name) if isinstance(given.get(name), list) else [given.get(name)]
        if any(str(file) == "-" for file in several or ()):
            raise UsageError(
                f"--{name.replace('_', '-')} '-' is no file, and only tables and --json go to standard output; "
                "give a file name"
            )


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
