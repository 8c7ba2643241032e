"""Task-specific importance: an output, classes or samples that count more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spa_cli.errors import OptionError
from spa_cli.graph.bodies import captured_names
from spa_cli.graph.model import Graph

# how many times more
FOCUS = 4


@dataclass(frozen=True)
class Focus:
    """What counts ``FOCUS`` times as much as the rest; empty where everything counts alike.

    ``samples``: a slice of the calibration data.
    """

    output: str = ""
    classes: tuple[int, ...] = ()
    samples: slice | None = None

    @staticmethod
    def of(texts: tuple[str, ...]) -> Focus:
        """From ``output=NAME``, ``classes=3,5`` and ``samples=0:100``; raises UsageError for anything else."""
        output, classes, samples = "", tuple[int, ...](), None
        for text in texts:
            kind, _, value = text.partition("=")
            try:
                if kind == "output" and value:
                    output = value
                elif kind == "classes":
                    classes = (*classes, *(_count(part) for part in value.split(",")))
                elif kind == "samples" and value.count(":") == 1:
                    start, stop = (_count(part) if part else None for part in value.split(":"))
                    samples = slice(start, stop)
                else:
                    raise ValueError
            except ValueError:
                raise OptionError(
                    f"--focus '{text}' is not known; write output=NAME, classes=3,5 or samples=0:100 (of --calib)"
                ) from None
        return Focus(output, classes, samples)

    @property
    def on_data(self) -> bool:
        """Whether it needs a criterion that looks at samples."""
        return bool(self.classes) or self.samples is not None

    def emphasis(self, graph: Graph) -> dict[str, float]:
        """How much the layers (node labels) that lead to the output count; raises UsageError if there is none."""
        if not self.output:
            return {}
        if self.output not in graph.outputs:
            raise OptionError(
                f"--focus output={self.output}: the model has no such output; name one of {', '.join(graph.outputs)}"
            )
        return dict.fromkeys(_upstream(graph, self.output), float(FOCUS))

    def repeats(self, count: int) -> NDArray[np.int64]:
        """How often each of ``count`` calibration samples is taken; raises UsageError for an empty slice."""
        times = np.ones(count, np.int64)
        if self.samples is not None:
            times[self.samples] = FOCUS
            if not (times > 1).any():
                raise OptionError(
                    f"--focus samples: the slice holds none of the {count} calibration samples; give one within them"
                )
        return times


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def _upstream(graph: Graph, output: str) -> set[str]:
    """Labels of the nodes that a tensor depends on."""
    labels, waiting, seen = set[str](), [output], set[str]()
    while waiting:
        node = graph.producers.get(waiting.pop())
        if node is None or node.label in labels:
            continue
        labels.add(node.label)
        names = {*node.inputs, *captured_names(node.proto)} - seen
        seen |= names
        waiting += names
    return labels
