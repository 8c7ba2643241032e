"""A model as it was given: the file, what lies beside it, what is to be said of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from spa_cli.graph.external import INLINE_LIMIT
from spa_cli.graph.model import Graph
from spa_cli.graph.view import build


@dataclass(eq=False)
class Source:
    """A model as it was given. ``folder`` is where its external data lies, ``""`` if it came from memory.

    ``model`` is what is worked on. It is compared with the file at ``path``, else with what was ``given`` from memory,
    where that is another. ``tidied``: what was done to it beyond reading, by step.
    """

    model: onnx.ModelProto
    name: str
    folder: str = ""
    path: Path | None = None
    bytes: int = 0
    data_files: tuple[Path, ...] = ()
    warnings: list[str] = field(default_factory=list)
    given: onnx.ModelProto | None = None
    tidied: dict[str, int] = field(default_factory=dict)

    @property
    def external(self) -> bool:
        """Whether weights lie in files of their own."""
        return bool(self.data_files)

    @property
    def room(self) -> int | None:
        """About how many bytes a smaller one takes that is one file, ``None`` for one that is not."""
        return self.bytes if not self.external and self.bytes < INLINE_LIMIT else None

    @property
    def graph(self) -> Graph:
        """The analysis view, built anew."""
        return build(self.model, self.folder)

    def digest(self) -> str:
        """SHA-256 of the nodes (not of the weights: a retrained model takes the same plan)."""
        return hashlib.sha256(b"".join(n.SerializeToString() for n in self.model.graph.node)).hexdigest()
