"""What a criterion may look at; what is costly is made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from spa_cli.analysis import Analysis
from spa_cli.channels.groups import Group
from spa_cli.graph.model import Array
from spa_cli.importance.registry import Scored
from spa_cli.importance.slices import sums
from spa_cli.importance.tables import made_by_formula
from spa_cli.obspa.curvature import Curvature

if TYPE_CHECKING:
    from spa_cli.options import Options

Finish = Callable[[Array], Array]


class Evidence:
    """One model, its groups, and on demand its calibration samples, their statistics, gradients."""

    def __init__(self, analysis: Analysis, options: Options) -> None:
        self.analysis, self.options, self.argument = analysis, options, ""
        self.graph, self.grouping = analysis.graph, analysis.grouping
        self.random = np.random.default_rng(options.seed)
        self.emphasis = options.focused.emphasis(analysis.graph)
        self.given: dict[str, Array] | None = None
        self._last: tuple[tuple[str, str], Array] | None = None

    @cached_property
    def curvature(self) -> Curvature:
        """Calibration samples and what the layers see of them; raises UsageError for data that can't be used."""
        return Curvature.measure(self.analysis, self.options)

    @property
    def measured(self) -> bool:
        """Whether calibration samples were looked at."""
        return "curvature" in self.__dict__

    def by_element(
        self, group: Group, kind: str, elements: Callable[[str], Array | None], finish: Finish = np.asarray
    ) -> list[Scored] | None:
        """Per member, ``finish`` of the sum of its elements' scores; ``None`` if no member has any.

        ``elements``: scores of this ``kind``, shaped like the parameter of that name (``None``: it has none). What no
        training made says nothing.
        """
        trained = [m for m in group.members if not made_by_formula(self.graph, m.tensor)] or list(group.members)
        found = []
        for member in trained:
            key = (kind, member.tensor)
            if self._last is None or self._last[0] != key:
                values = elements(member.tensor)
                if values is None:
                    continue
                # one at a time: a model of a billion parameters is scored in little more memory than it takes
                self._last = (key, values)
            per_channel = finish(sums(self.grouping, group, member, self._last[1]))
            found.append(Scored(member.role, member.node, per_channel))
        return found or None

    def weight(self, name: str) -> Array:
        """A parameter in double precision."""
        return self.graph.array(name).astype(np.float64)
