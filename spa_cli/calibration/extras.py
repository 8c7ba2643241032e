"""Libraries that only some readers need, imported when they are first used.

Messages name the packages themselves: whose ``spa-cli`` a pip outside of spa's environment would fetch is unknown.
"""

from __future__ import annotations

import importlib
from typing import Any

from spa_cli.errors import UsageError

_PACKAGES = {"images": "pillow", "text": "tokenizers", "datasets": "datasets"}


def extra(module: str, name: str, what: str) -> Any:
    """A module of an extra; raises UsageError that says how to install it. ``what`` needs it: "images need Pillow"."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{what} ({error}); install it in spa's own environment: pip install {_PACKAGES[name]}"
        ) from error
