"""The ``spa`` application: commands, version, errors to exit codes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from spa_cli.cli.failures import INTERRUPTED, JSON, print_error, wants_json
from spa_cli.cli.streams import say, settle
from spa_cli.cli.watch import watched
from spa_cli.errors import of_memory
from spa_cli.interrupts import heed, interrupted
from spa_cli.written import noting, told

# columns of a terminal on which the panels of help have room for the names of options
_PANELS = 76


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from spa_cli.version import __version__

        parts = ", ".join(f"{p} {version(p)}" for p in ("onnx", "onnxruntime", "onnx-graphsurgeon", "numpy"))
        typer.echo(f"spa {__version__} ({parts}, Python {sys.version.split()[0]})")
        raise typer.Exit


class _Group(TyperGroup):
    """The commands; what Typer itself refuses is also printed as an object where ``--json`` is given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[JSON] = JSON in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            # Typer's own words for what it could not parse; it prints them, and leaves with the code
            said = getattr(error, "format_message", None)
            if said is not None and wants_json(ctx):
                print_error(getattr(error, "exit_code", 2), "usage", said())
            raise


def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show versions and leave."),
) -> None:
    """Structurally prune any trained network in an ONNX file."""


def commands() -> typer.Typer:
    """The application with all its commands."""
    from spa_cli.cli import apply, inspect, lists, prune, sweep, tune, verify

    width = shutil.get_terminal_size().columns
    app = typer.Typer(
        cls=_Group,
        context_settings={"terminal_width": width},
        help="Structurally prune any trained network in an ONNX file.",
        epilog="Exit codes: 0 done; 1 verification or a gate failed; 2 usage; 3 model missing, invalid or not prunable; "
        "4 target unreachable; 5 not enough memory; 130 interrupted.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if width >= _PANELS else None,
    )
    app.callback()(_root)
    for function in (
        *(apply.apply, lists.criteria, lists.devices, inspect.inspect, lists.operators),
        *(prune.prune, lists.schema, sweep.sweep, tune.tune, verify.verify),
    ):
        app.command()(function)
    return app


def main() -> None:
    """Entry point."""
    try:
        settle()
        heed()
        watched(_main)
    except KeyboardInterrupt:
        # before anything began
        _interrupted([])


def _main() -> None:
    with noting() as written:
        try:
            commands()()
        except (RuntimeError, KeyboardInterrupt) as error:
            if interrupted(error):
                _interrupted(written)
            raise
        except SystemExit as left:
            # outside of a command Typer answers: for a help page whose reader has gone, for an interrupt
            if isinstance(left.__context__, BrokenPipeError):
                raise SystemExit(0) from None
            if left.__context__ is not None and interrupted(left.__context__):
                _interrupted(written)
            raise
        except OSError as error:
            if of_memory(error):
                raise
            say(f"error: what was asked for can't be printed: {error.strerror or error}; print it to another place")
            raise SystemExit(2) from None


def _interrupted(written: list[Path]) -> NoReturn:
    """Before a command began, or when it was done."""
    say(f"interrupted; {told(written)}")
    raise SystemExit(INTERRUPTED) from None
