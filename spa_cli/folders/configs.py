"""The files beside a model that say in numbers how wide it is."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HUGGING_FACE, GENAI = "config.json", "genai_config.json"
# where the numbers stand, by file: the first place that has any
_PLACES: dict[str, tuple[tuple[str, ...], ...]] = {
    HUGGING_FACE: ((), ("text_config",)),
    GENAI: (("model", "decoder"),),
}
# no configuration is longer, and what is need not be read
_LONGEST = 1 << 24


@dataclass(frozen=True)
class Config:
    """``data``: all that the file says; its numbers stand in the object ``inside`` of that.

    ``indent``, ``ascii``: how it is written.
    """

    file: str
    data: dict[str, Any]
    inside: tuple[str, ...]
    indent: int | None
    ascii: bool = False

    @property
    def said(self) -> dict[str, Any]:
        """The object that has the numbers."""
        return _at(self.data, self.inside) or {}

    def number(self, key: str) -> int | None:
        """What it says under a key, where that is a number of something."""
        value = self.said.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

    def first(self, keys: tuple[str, ...]) -> int | None:
        """The first number that it has of these."""
        return next(filter(None, map(self.number, keys)), None)

    def text(self, numbers: Mapping[str, int]) -> str:
        """The file with other numbers, and the rest as it was."""
        data = copy.deepcopy(self.data)
        (_at(data, self.inside) or {}).update(numbers)
        return json.dumps(data, indent=self.indent, ensure_ascii=self.ascii) + "\n"


def read(path: Path, known: frozenset[str]) -> Config | None:
    """The file, if it is JSON and says at least one of the ``known`` numbers."""
    try:
        if not path.is_file() or path.stat().st_size > _LONGEST:
            return None
        text = path.read_text(encoding="utf-8")
        data = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    spaces = re.search(r"\n( +)\"", text)
    indent = len(spaces[1]) if spaces else None
    # half a character can only be written as a number
    ascii_only = text.isascii() or "\\ud" in text.lower()
    found = (Config(path.name, data, place, indent, ascii_only) for place in _PLACES[path.name])
    return next((config for config in found if any(config.number(key) for key in known)), None)


def _at(data: dict[str, Any], inside: tuple[str, ...]) -> dict[str, Any] | None:
    for key in inside:
        data = data.get(key)  # type: ignore[assignment]
        if not isinstance(data, dict):
            return None
    return data
