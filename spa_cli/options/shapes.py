"""``--input-shape`` as this ecosystem writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from spa_cli.errors import OptionError

InputShapes: TypeAlias = Mapping[str, Sequence[int]] | str | Iterable[str] | None

# a comma before another NAME: (trtexec separates inputs by commas, and sizes by x)
_NEXT = re.compile(r",(?=[^,:\[\]]*[A-Za-z_/][^,\[\]]*:[\[\d])")
_SIZES = re.compile(r"\[(\d+(?:[,x]\d+)*),?\]|(\d+(?:[,x]\d+)*)")
# polygraphy before 0.30: NAME,1x3x224x224
_OLD = re.compile(r"(?P<name>[^:]+),(?P<sizes>\d+(?:x\d+)+)")


def shapes(given: InputShapes) -> dict[str, tuple[int, ...]]:
    """Shapes by input: as they are, or out of one text or several."""
    if isinstance(given, Mapping):
        return {name: tuple(shape) for name, shape in given.items()}
    return parse_shapes([given] if isinstance(given, str) else given)


def parse_shapes(texts: Iterable[str] | None) -> dict[str, tuple[int, ...]]:
    """Shapes by input, as these tools write them.

    - ``NAME:1,3,224,224`` (onnxsim) and ``NAME:1x3x224x224``
    - ``NAME:[1,3,224,224]``, several separated by spaces (polygraphy)
    - ``A:1x3x224x224,B:1x128`` (trtexec), ``NAME,1x3x224x224`` (polygraphy before 0.30)

    Names may hold colons. Raises UsageError for anything else, and for an input that is given twice.
    """
    found: dict[str, tuple[int, ...]] = {}
    for text in texts or []:
        for part in _parts(text):
            name, shape = _one(part)
            if found.get(name, shape) != shape:
                raise OptionError(f"--input-shape gives '{name}' two shapes; give one")
            found[name] = shape
    return found


def _parts(text: str) -> list[str]:
    inside = re.sub(r"\[[^\]]*\]", lambda m: m.group().replace(" ", ""), text)
    return [part for word in inside.split() for part in _NEXT.split(word)] or [text]


def _one(text: str) -> tuple[str, tuple[int, ...]]:
    old = _OLD.fullmatch(text)
    name, _, sizes = (old["name"], "", old["sizes"]) if old else text.rpartition(":")
    found = _SIZES.fullmatch(sizes)
    shape = tuple(int(d) for d in re.split("[,x]", found[1] or found[2])) if found else ()
    if not name or not shape or shape[0] < 1:
        raise OptionError(
            f"--input-shape '{text}' is not NAME:1,3,224,224; write the input's name, a colon and its sizes"
        )
    return name, shape
