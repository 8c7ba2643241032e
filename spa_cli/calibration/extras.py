"""Libraries that only some readers need, imported when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

from spa_cli.errors import UsageError


def extra(module: str, name: str, what: str) -> Any:
    """A module of an extra; raises UsageError that says how to install it. ``what`` needs it: "images need Pillow"."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{what} ({error}); install it by pip install 'spa-cli[{name}]'") from error
