"""Samples in a file of text: .txt with one a line, .jsonl with an object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spa_cli.calibration.check import samples_of
from spa_cli.calibration.reading import Reading
from spa_cli.calibration.samples import Samples, joined, part, spread
from spa_cli.calibration.tokens import TextInputs
from spa_cli.errors import UsageError
from spa_cli.graph.model import Array, Graph

SUFFIXES = (".txt", ".jsonl")
# bytes of one token in all four arrays
_TOKEN = 32


def read_text(path: Path, graph: Graph, reading: Reading, limit: int | None) -> Samples:
    """At most ``limit`` of the lines that are not blank, evenly spread. Labels: the "label" of a .jsonl's objects.

    Raises UsageError for a file or tokenizer that can't be read, and for a model that text does not serve.
    """
    target = TextInputs.of(graph, reading, str(path))
    total = sum(1 for _ in _lines(path))
    if not total:
        raise UsageError(f"the text '{path}' holds no line; give one sample a line")
    chosen = set(spread(total, limit, target.longest * _TOKEN))
    rows = [(number, line) for at, (number, line) in enumerate(_lines(path)) if at in chosen]
    labels: Array | UsageError | None = None
    if path.suffix.lower() == ".jsonl":
        objects = [_object(path, number, line) for number, line in rows]
        texts = [text for text, _ in objects]
        labels = joined(
            [label for _, label in objects], [f"line {number} of '{path}'" for number, _ in rows], str(path)
        )
    else:
        texts = [line for _, line in rows]
    about = f"{path} ({part(len(texts), total, 'lines')})"
    return samples_of(target.arrays(texts), graph, str(path), about, labels)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of each that isn't blank."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the text '{path}' can't be read: {error}; save it as UTF-8") from error


def _object(path: Path, number: int, line: str) -> tuple[str, Array | None]:
    try:
        found = json.loads(line)
        text = found["text"]
        if not isinstance(text, str):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(
            f'line {number} of \'{path}\' is no object with a text; write {{"text": "..."}} with or without a "label"'
        ) from None
    label = found.get("label")
    return text, None if label is None else np.array([label])
