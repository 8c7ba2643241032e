"""Optional libraries, imported when they are first used.

Messages name the packages themselves: an extra of ``spa-onnx`` would install that once more, from wherever pip looks.
"""

from __future__ import annotations

import importlib
from typing import Any

from spa_cli.errors import UsageError


def extra(module: str, what: str, packages: str, instead: str = "") -> Any:
    """An optional library; raises UsageError that says how to install it.

    ``what`` needs it ("images need Pillow"); ``packages``: as pip calls them; ``instead``: what to do without.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        them = "them" if " " in packages else "it"
        raise UsageError(
            f"{what} ({error}); install {them} in spa's own environment: pip install {packages}"
            + (f", or {instead}" if instead else "")
        ) from error
