"""What every command has: its options, its log, and errors as one sentence with a documented exit code."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from spa_cli.cli.app import app
from spa_cli.errors import first_line

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
        typer.echo(f"error: {error}", err=True)
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


_F = TypeVar("_F", bound=Callable[..., Any])


def command(name: str | None = None, kept: str = "nothing was written") -> Callable[[_F], _F]:
    """Register a command; ``kept``: what is left behind if it does not come to its end."""

    def register(function: _F) -> _F:
        own = inspect.signature(function, eval_str=True)
        shared = inspect.signature(_common, eval_str=True).parameters.values()

        @functools.wraps(function)
        def run(**given: Any) -> None:
            config = given.pop("config")
            debug, quiet, verbose, log_file = (given.pop(n) for n in ("debug", "quiet", "verbose", "log_file"))
            from spa_cli.cli.listen import listening
            from spa_cli.progress import stage

            with guarded(debug, kept), listening(quiet, verbose, log_file), _noted(debug):
                if config is not None:
                    stage(f"options from '{config}'")
                function(**given)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own.parameters.values(), *shared)]
        run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(name)(run)
        return function

    return register


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


@contextlib.contextmanager
def guarded(debug: bool, kept: str = "nothing was written") -> Iterator[None]:
    """Errors as one sentence on stderr and a documented exit code; a traceback only with ``--debug``.

    ``kept``: what is left behind if the command does not come to its end.
    """
    from spa_cli.errors import SpaError

    # a pipeline's time-out cleans up like Ctrl-C
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except SpaError as error:
        if debug:
            raise
        from spa_cli.text import one_line

        typer.echo(one_line(f"error: {error}"), err=True)
        raise typer.Exit(error.exit_code) from None
    except BrokenPipeError:
        os._exit(0)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; {kept}", err=True)
        raise typer.Exit(130) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if debug:
            raise
        typer.echo(
            f"error: an unexpected {type(error).__name__} ({first_line(error)}); {kept}; "
            "run again with --debug and report what it prints",
            err=True,
        )
        raise typer.Exit(1) from None
