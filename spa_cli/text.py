"""Numbers as people read them."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence

# controls, marks that turn the direction of what follows, halves of characters, lines and paragraphs
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
# what a runner of CI takes for a command: "::error::" and "##[error]" (GitHub), "##vso[...]" (Azure)
_COMMAND = re.compile(r"(?<![\w:])(:)(?=:[A-Za-z][\w-]*(?: [^:]*)?::)|(#)(?=#(?:\[|vso\[))")


def is_utf8(name: object) -> bool:
    """Whether the name of a file is one that native code takes: Python reads others with stand-ins for their bytes."""
    try:
        str(name).encode()
    except UnicodeEncodeError:
        return False
    return True


def count(n: float) -> str:
    """1234567 -> '1.23 M'."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(n) >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f}"


def size(n: float) -> str:
    """Bytes, in the units of ``ls -h`` with powers of 1000."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n >= limit:
            return f"{n / limit:.3g} {unit}"
    return f"{n:.0f} B"


def plural(n: int, one: str, several: str = "") -> str:
    """3, "sample" -> '3 samples'; 2, "axis", "axes" -> '2 axes'."""
    return f"{n} {one if n == 1 else several or one + 's'}"


def said_once(told: Mapping[str, str]) -> dict[str, str]:
    """What is told of names, and of which: the first one and how many more. In order of the first ones."""
    groups: dict[str, list[str]] = {}
    for name, words in told.items():
        groups.setdefault(words, []).append(name)
    return {words: and_more(names) for words, names in groups.items()}


def and_more(names: Sequence[str]) -> str:
    """The first one, and how many more there are."""
    return f"{names[0]} and {len(names) - 1} more" if names[1:] else names[0]


def duration(seconds: float | None) -> str:
    """A latency."""
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"


def drift_text(drift: float) -> str:
    """A drift; there is none where no output is a number."""
    return "can't be measured" if math.isnan(drift) else f"{drift:.3g}"


def one_line(text: str) -> str:
    """Text in which a name from a file can't start a line, steer a terminal or command a runner of CI.

    Nor is anything left that XML, SVG and HTML can't hold. Every character becomes one.
    """
    seen = "".join(c if unicodedata.category(c) not in _UNSEEN else _UNKNOWN for c in text)
    return _COMMAND.sub(_UNKNOWN, seen)


def shorten(text: str, width: int) -> str:
    """Cut in the middle: the ends of a tensor's name say the most."""
    if len(text) <= width:
        return text
    head = (width - 2) // 2
    return f"{text[:head]}..{text[len(text) - (width - 2 - head) :]}"


def shortened(names: Sequence[str], width: int) -> list[str]:
    """Each cut in the middle; of those that would then look alike, what they begin with alike goes instead."""
    found = [shorten(name, width) for name in names]
    for shown in set(found):
        alike = [at for at, one in enumerate(found) if one == shown]
        if len({names[at] for at in alike}) > 1:
            start = os.path.commonprefix([names[at] for at in alike])  # noqa: RUF071 - letters, not folders
            # whole words stay
            same = max(start.rfind(c) for c in "/.:_-") + 1
            for at in alike:
                found[at] = shorten(f"..{names[at][same:]}", width)
    return found


def first_sentence(function: object) -> str:
    """What the docstring of a function says first, for a table."""
    return next(iter((function.__doc__ or "").strip().splitlines()), "")


def summary_of(function: object) -> str:
    """The same without a full stop, for a cell of a table."""
    return first_sentence(function).rstrip(".")


def widths_text(groups: Mapping[str, int]) -> str:
    """How many groups have widths of which multiples, in words."""
    if not groups.keys() - {"1"}:
        return "any"
    each = [f"of {m} in {count}" if m != "1" else f"any in {count}" for m, count in groups.items()]
    return f"multiples {', '.join(each)} of the groups that were cut"
