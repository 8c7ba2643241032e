"""The command line: one small file per command; each parses, calls, prints, and decides nothing."""

from __future__ import annotations

from spa_cli.cli.app import main

__all__ = ["main"]
