"""The ``spa`` application: commands, version, errors to exit codes."""

from __future__ import annotations

import sys

import typer


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from spa_cli.version import __version__

        parts = ", ".join(f"{p} {version(p)}" for p in ("onnx", "onnxruntime", "onnx-graphsurgeon", "numpy"))
        typer.echo(f"spa {__version__} ({parts}, Python {sys.version.split()[0]})")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show versions and leave."),
) -> None:
    """Structurally prune any trained network in an ONNX file."""


def commands() -> typer.Typer:
    """The application with all its commands."""
    from spa_cli.cli import apply, inspect, lists, prune, sweep, verify

    app = typer.Typer(
        help="Structurally prune any trained network in an ONNX file.",
        epilog="Exit codes: 0 done; 1 verification or a gate failed; 2 usage; 3 model missing, invalid or not prunable; "
        "4 target unreachable.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback()(_root)
    for function in (
        *(apply.apply, lists.criteria, lists.devices, inspect.inspect, lists.operators),
        *(prune.prune, lists.schema, sweep.sweep, verify.verify),
    ):
        app.command()(function)
    return app


def main() -> None:
    """Entry point."""
    commands()()
