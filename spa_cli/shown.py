"""Results at a prompt and in a notebook: one line, or the table that a command prints."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

_tables: list[Callable[[object], str]] = []


def tables_by(html: Callable[[object], str]) -> None:
    """What makes HTML of a result; tables are made on a floor above the results."""
    _tables[:] = [html]


class Shown:
    """What a function of the Python API gives. Dataclasses of it are made with ``repr=False``."""

    @property
    @abstractmethod
    def line(self) -> str:
        """All of it in one line."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.line}>"

    def _repr_html_(self) -> str | None:
        """What a notebook shows; ``None``: the line."""
        return _tables[0](self) if _tables else None
