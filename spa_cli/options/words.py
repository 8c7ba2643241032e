"""From what a user may give for an option to what is kept of it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from spa_cli.errors import OptionError

Numbers: TypeAlias = str | float | Sequence[float]
Evaluation: TypeAlias = Callable[[str], float]


def numbers(flag: str, given: Numbers) -> tuple[float, ...]:
    """The numbers in "0.1,0.2", in a sequence, or a single one; raises UsageError where that is none of these."""
    parts = (
        given.strip("[] ").split(",")
        if isinstance(given, str)
        else [given]
        if isinstance(given, int | float)
        else given
    )
    try:
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        found = ()
    if not found or not all(map(math.isfinite, found)):
        raise OptionError(f"{flag} '{given}' is no number; write one, or one a channel like 0.485,0.456,0.406")
    return found


def mean(given: Numbers) -> tuple[float, ...]:
    """What is taken off pixels."""
    return numbers("--mean", given)


def std(given: Numbers) -> tuple[float, ...]:
    """What pixels are divided by."""
    return numbers("--std", given)


def texts(given: str | Iterable[str] | None) -> tuple[str, ...]:
    """Several, or one alone as a string."""
    return (given,) if isinstance(given, str) else tuple(given or ())


def pairs(given: Iterable[str]) -> list[tuple[str, str]]:
    """Inputs with the outputs that give them back, out of IN=OUT; raises UsageError for anything else."""
    found = []
    for text in given:
        ends = tuple(part.strip() for part in text.split("="))
        if len(ends) != 2 or not all(ends):
            raise OptionError(f"--state '{text}' is no pair; write IN=OUT, as in --state h0=hn")
        found.append((ends[0], ends[1]))
    return found


def providers(given: str | Sequence[str]) -> str | tuple[str, ...]:
    """Names with commas between, or a sequence of them."""
    return given if isinstance(given, str) else tuple(given)


def file(given: str | os.PathLike[str] | None) -> Path | None:
    """A path, if there is one; raises OptionError for what is none."""
    return None if given is None else path_of(given, "a file")


def path_of(given: object, what: str) -> Path:
    """The path of ``what``; raises OptionError for what is none."""
    if not isinstance(given, str | os.PathLike):
        raise OptionError(f"{what} can't be of type {type(given).__name__}; give the path of a file")
    return Path(given)


def device(given: str | os.PathLike[str]) -> str:
    """A name, or the path of a TOML file."""
    return os.fspath(given)


def evaluation(given: str | Evaluation | None) -> str | Evaluation | None:
    """A command, or a function; raises UsageError for a command that does not name the file."""
    if isinstance(given, str) and "{model}" not in given:
        raise OptionError("--eval names no {model}, the file to evaluate; write --eval 'python eval.py {model}'")
    return given


def multiple(given: str | int) -> int | str:
    """A number, also as text; any other word stays as it is."""
    try:
        return int(given)
    except ValueError:
        return given


def fraction(given: str | float | None) -> float | None:
    """A number, also as text, or a percentage: 0.7, 70%; raises UsageError where it is neither."""
    if not isinstance(given, str):
        return given
    try:
        found = float(given.strip().removesuffix("%"))
    except ValueError:
        raise OptionError(f"'{given}' is no fraction; write one like 0.7 or 70%") from None
    return found / 100 if given.strip().endswith("%") else found


def in_bytes(given: str | int) -> int | None:
    """Of a size as every option takes it: 500000, 20kB, 1.5 MB, 3GiB, 4g; ``None`` for what is none."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([kmgt]?)(i?)b?", str(given).strip().lower())
    number = float(found[1]) * (1024 if found[3] else 1000) ** " kmgt".index(found[2] or " ") if found else 0
    return round(number) if number >= 1 else None


def in_percent(given: str) -> float | None:
    """The fraction that ``60%`` is, above none; ``None`` for other words."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*%", given)
    return (float(found[1]) / 100 or None) if found else None


def size(given: str | int | None, flag: str = "--memory") -> int | None:
    """Bytes, also as text with a unit."""
    if given is None:
        return None
    found = in_bytes(given)
    if found is None:
        raise OptionError(f"{flag} '{given}' is no size; write one like 4GB or 500MB")
    return found


def rate(given: str | float) -> str | float:
    """A number, also as text, or auto; raises UsageError where it is neither."""
    try:
        return given if given == "auto" else float(given)
    except ValueError:
        raise OptionError(f"--lr '{given}' is no number; write one like 0.003, or auto") from None


def duration(given: str | float | None) -> float | None:
    """Seconds, also as text with a unit: 90s, 5m, 1.5h; raises UsageError where it is no such thing."""
    if given is None:
        return None
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|min)?", str(given).strip().lower())
    seconds = float(found[1]) * {"s": 1, "m": 60, "min": 60, "h": 3600}[found[2] or "s"] if found else 0.0
    if not seconds:
        raise OptionError(f"--tune '{given}' is no duration; write one like 90s, 5m or 1h")
    return seconds
