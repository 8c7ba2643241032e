"""The ``spa`` application: commands, version, errors to exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import typer

app = typer.Typer(
    help="Structurally prune any trained network in an ONNX file.",
    epilog="Exit codes: 0 done; 1 verification or a gate failed; 2 usage; 3 model missing, invalid or not prunable; "
    "4 target unreachable.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from spa_cli import __version__

        parts = ", ".join(f"{p} {version(p)}" for p in ("onnx", "onnxruntime", "onnx-graphsurgeon", "numpy"))
        typer.echo(f"spa {__version__} ({parts}, Python {sys.version.split()[0]})")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show versions and leave."),
) -> None:
    """Structurally prune any trained network in an ONNX file."""


@contextlib.contextmanager
def guarded(debug: bool, kept: str = "nothing was written") -> Iterator[None]:
    """Errors as one sentence on stderr and a documented exit code; a traceback only with ``--debug``.

    ``kept``: what is left behind if the command does not come to its end.
    """
    from spa_cli.errors import SpaError

    try:
        yield
    except SpaError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
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
            f"error: an unexpected {type(error).__name__} ({str(error)[:200]}); {kept}; "
            "run again with --debug and report what it prints",
            err=True,
        )
        raise typer.Exit(1) from None


def main() -> None:
    """Entry point."""
    from spa_cli.cli import apply, criteria, inspect, operators, prune, sweep, verify  # noqa: F401 - each registers its command

    app()
