"""What a criterion may look at; what is costly is made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cached_property
from typing import NamedTuple

import numpy as np

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import Calibration, samples_in
from spa_cli.calibration.fitting import fitted_to
from spa_cli.calibration.focus import Focus
from spa_cli.calibration.read import Data
from spa_cli.channels.groups import Group
from spa_cli.channels.ranking import Scores
from spa_cli.channels.slices import sums
from spa_cli.derivatives.differentiable import Differentiable
from spa_cli.derivatives.loss import Loss
from spa_cli.derivatives.network import Batch
from spa_cli.errors import OptionError
from spa_cli.graph.formulas import made_by_formula
from spa_cli.graph.model import Array
from spa_cli.obspa.curvature import Curvature
from spa_cli.options import Options
from spa_cli.runtime.session import graph_session, run

Finish = Callable[[Array], Array]


class Scored(NamedTuple):
    """Scores of a group's channels in one member, (c,) or (b, c); ``node`` uses it in ``role`` ("": always counts)."""

    role: str
    node: str
    scores: Scores


class Evidence:
    """One model, its groups, and on demand its calibration samples, their statistics, gradients.

    ``judges``: samples that a repair is judged on, and nothing is fitted to.
    """

    def __init__(
        self,
        analysis: Analysis,
        options: Options,
        focus: Focus = Focus(),
        data: Data = Data(),
        judges: Calibration | None = None,
    ) -> None:
        self.analysis, self.options = analysis, options
        self._focus, self._data, self._judges = focus, data, judges
        self.graph, self.grouping = analysis.graph, analysis.grouping
        self.random = np.random.default_rng(options.seed)
        self.emphasis = focus.emphasis(analysis.graph)
        self.given: dict[str, dict[str, Array]] = {}
        self._derivatives: dict[str, dict[str, Array]] = {}
        self._last: tuple[tuple[str, str], Array] | None = None
        # whether layers compare by what outputs feel of them, too
        self.directed = True

    def undirected(self) -> Evidence:
        """The same, but layers compare by what their errors are added into alone."""
        other = copy(self)
        other.directed = False
        return other

    @cached_property
    def curvature(self) -> Curvature:
        """Calibration samples and what the layers see of them; raises UsageError for data that can't be used."""
        samples = fitted_to(self.analysis, self.options, self._focus, self._data)
        return Curvature(self.analysis, samples, self.options.seed, self.emphasis, self._judges)

    @property
    def sampled(self) -> bool:
        """Whether anything has looked at calibration samples."""
        return "curvature" in vars(self)

    def derivative(self, kind: str) -> dict[str, Array]:
        """``gradient``, ``hessian_gradient`` or ``fisher`` of the loss on the calibration samples, per parameter.

        Raises ModelError where the model can't be differentiated.
        """
        if kind not in self._derivatives:
            differentiable, batches, loss = self._differentiable
            self._derivatives[kind] = getattr(differentiable, kind)(batches, loss)
        return self._derivatives[kind]

    def why_unscored(self, group: Group) -> str:
        """Why no gradient reaches a group's weights, "" if that was not asked or is not known."""
        missing = self._differentiable[0].missing if self._derivatives else {}
        return next((missing[m.tensor] for m in group.members if m.tensor in missing), "")

    @cached_property
    def _differentiable(self) -> tuple[Differentiable, list[Batch], Loss]:
        if size := self.graph.too_large:
            raise OptionError(
                f"--method {self.options.method} holds the model in memory, and {size} of weights are more than "
                "onnxruntime takes from there (2 GB); use --method obspa or l2"
            )
        samples, given = self.curvature.calibration, self._data.fit
        labels = given.labels if given is not None and samples.index is not None else None
        first = samples.chunks[0]
        reference = run(graph_session(self.graph), first)
        batches: list[Batch] = []
        for at, chunk in enumerate(samples.chunks):
            own = labels[samples.index[at]] if labels is not None and samples.index is not None else None
            batches.append((chunk, own, np.ones(samples_in(chunk))))
        # focused classes are in the samples already, a focused output in what its groups count
        loss = Loss(self._focus.output or None if labels is not None else None, None, self.options.seed)
        return Differentiable.of(self.graph, first, reference), batches, loss

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
