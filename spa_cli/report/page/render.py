"""Templates to pages."""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spa_cli.errors import UsageError
from spa_cli.graph.save import check_writable
from spa_cli.graph.source import Source
from spa_cli.report.page.theme import Number, require
from spa_cli.text import count, drift_text, duration, one_line, plural, size

if TYPE_CHECKING:
    from jinja2 import Environment


def check_page(path: Path, source: Source, force: bool, option: str) -> None:
    """Before any work is done: raises UsageError if the page could not be written or made."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{option} '{path}' has to end in .html; give it that name")
    check_writable(path, source, force, alone=True)
    require()


def render(template: str, **values: Any) -> str:
    """A page; everything in it is escaped but the figures."""
    return _environment().get_template(template).render(made_by=_versions(), **values)


def percent(before: float, after: float) -> str:
    """The change as people read it, with a minus sign that screen readers know."""
    if not before:
        return "-"
    change = round(100 * (after / before - 1), 1)
    return (
        "±0.0\N{NO-BREAK SPACE}%" if not change else f"{change:+.1f}\N{NO-BREAK SPACE}%".replace("-", "\N{MINUS SIGN}")
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("spa_cli.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: one_line(value) if type(value) is str else value,
    )
    found.filters |= {"count": count, "drift": drift_text, "figured": _figured, "plural": plural}
    found.globals |= {"percent": percent, "count": count, "size": size, "duration": duration}
    found.globals |= {"drifted": drift_text, "figured": _figured}
    found.tests["number"] = lambda value: isinstance(value, Number)
    return found


def _figured(value: float) -> str:
    return f"{value:.4g}"


def _versions() -> list[tuple[str, str]]:
    from spa_cli.version import __version__

    found = [(p, version(p)) for p in ("onnx", "onnxruntime", "numpy")]
    return [("spa", __version__), *found, ("Python", platform.python_version())]
