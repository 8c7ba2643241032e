"""The models that are damaged: those of the operators' tests, the sample models, small ones of a folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import onnx

import tests.operators
from tests.samples import SAMPLES, calib_path, model_path

# larger files take longer and hold nothing that smaller ones don't
_LARGEST = 120_000
# one case of so many damages a sample model or one of the folder; the others the tiny ones of the tests
_LARGE_SHARE = 8


@dataclass(frozen=True)
class Seed:
    """A sound model: its name, how to get at it, and the calibration samples that there are for it."""

    name: str
    model: Callable[[], onnx.ModelProto]
    calib: Path | None = None


@lru_cache(maxsize=2)
def seeds(models: Path | None) -> tuple[list[Seed], list[Seed]]:
    """(tiny models, larger ones), in an order that does not change; ``models``: a folder with more, if it is there."""
    tiny = list(_of_tests())
    larger = [Seed(name, _reader(model_path(name)), calib_path(name)) for name in SAMPLES]
    if models is not None:
        found = sorted(p for p in models.rglob("*.onnx") if p.stat().st_size <= _LARGEST)
        larger += [Seed(str(p.relative_to(models)), _reader(p)) for p in found]
    return tiny, larger


def pick(rng: Any, models: Path | None) -> Seed:
    """One of them."""
    tiny, larger = seeds(models)
    among = larger if rng.integers(_LARGE_SHARE) == 0 else tiny
    return among[int(rng.integers(len(among)))]


def _reader(path: Path) -> Callable[[], onnx.ModelProto]:
    return lambda: onnx.load(str(path))


def _of_tests() -> Iterator[Seed]:
    """Every model that a parametrised test of an operator is given."""
    for info in sorted(pkgutil.iter_modules(tests.operators.__path__), key=lambda i: i.name):
        if not info.name.startswith("test_"):
            continue
        module = importlib.import_module(f"tests.operators.{info.name}")
        seen: set[int] = set()
        for function in vars(module).values():
            for mark in getattr(function, "pytestmark", ()):
                given = mark.args[1] if mark.name == "parametrize" and len(mark.args) > 1 else ()
                for at, one in enumerate(given):
                    for value in getattr(one, "values", ()):
                        if isinstance(value, onnx.ModelProto) and id(value) not in seen:
                            seen.add(id(value))
                            yield Seed(
                                f"{info.name}/{getattr(one, 'id', None) or at}", lambda value=value: _copy(value)
                            )


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
