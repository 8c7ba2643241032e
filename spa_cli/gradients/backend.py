"""torch and onnx2torch, imported when a gradient is first asked for."""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spa_cli.extras import extra

INSTEAD = (
    "use a criterion that needs no gradients, such as obspa, "
    "or --method scores:FILE.npz with scores from your framework"
)


def require() -> None:
    """Import torch and onnx2torch; raises UsageError if the extra isn't installed."""
    with warnings.catch_warnings(), _torchvision():
        # what these packages have to say to their own developers is none of the user's business
        warnings.simplefilter("ignore")
        for name in ("torch", "onnx2torch"):
            extra(name, "gradients need PyTorch and onnx2torch", "torch onnx2torch", INSTEAD)


@contextmanager
def _torchvision() -> Iterator[None]:
    """A stand-in for torchvision while onnx2torch is imported, if the real one isn't there or doesn't load.

    onnx2torch imports it for NonMaxSuppression and RoiAlign alone, through which no gradient is asked for here; a
    torchvision built for another torch raises as it is imported. The stand-in goes again, so that nobody else finds it.
    """
    if "onnx2torch" in sys.modules or _loads("torchvision.ops"):
        yield
        return
    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    package, operators = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
    vars(operators).update(dict.fromkeys(("nms", "box_convert", "roi_align"), _missing))
    vars(package).update(ops=operators, _is_tracing=_missing)
    stand_in = {"torchvision": package, "torchvision.ops": operators}
    sys.modules.update(stand_in)
    try:
        yield
    finally:
        for name in stand_in:
            sys.modules.pop(name, None)


def _loads(name: str) -> bool:
    try:
        importlib.import_module(name)
    except Exception:  # noqa: BLE001 - one built for another torch fails in ways of its own
        return False
    return True


def _missing(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("NonMaxSuppression and RoiAlign need torchvision")
