"""Analysing a model: shapes, groups, costs, at one concrete choice of its free dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import onnx

from spa_cli.budget.costs import Costs
from spa_cli.channels.groups import FrozenAxis, Group, Grouping, build_groups
from spa_cli.channels.ids import Reason
from spa_cli.channels.selection import Selection
from spa_cli.channels.state import CONSUMER, PASS_THROUGH, Channels
from spa_cli.graph.formulas import made_by_formula
from spa_cli.graph.model import Graph
from spa_cli.graph.rounds import check_rounds
from spa_cli.graph.shapes import Observed, Shapes, interpret
from spa_cli.graph.source import Source
from spa_cli.graph.states import Pair
from spa_cli.operators import shape_rules
from spa_cli.operators.analyse import analyse
from spa_cli.operators.blocks import Block, find_blocks
from spa_cli.operators.rewrite import cut
from spa_cli.operators.states import find_pairs
from spa_cli.runtime.dimensions import input_shapes, other_sizes
from spa_cli.runtime.first_run import shapes_of
from spa_cli.runtime.fitting import Fitting
from spa_cli.runtime.inputs import declared, input_dims
from spa_cli.runtime.observe import observe
from spa_cli.runtime.session import Feeds
from spa_cli.shown import Shown
from spa_cli.surgery.cut import Cut
from spa_cli.text import count, one_line, plural

# axes of an input that may be free where the file does not say, the most first; channels are axis 1, or the last
_FREE: tuple[Callable[[int], set[int]], ...] = (
    lambda rank: {*range(rank)},
    lambda rank: {*range(rank)} - {1},
    lambda rank: {*range(rank - 1)},
    lambda _: {0},
    lambda _: set(),
)


@dataclass(frozen=True, eq=False, repr=False)
class Analysis(Shown):
    """Everything that is known of a model before anything is chosen; ``source`` is the model as it was read."""

    source: Source
    graph: Graph
    input_shapes: dict[str, tuple[int, ...]]
    other_shapes: list[dict[str, tuple[int, ...]]]
    state: Channels
    grouping: Grouping
    costs: Costs

    @property
    def line(self) -> str:
        """How much there is, and how much of it can go."""
        costs, groups = self.costs, plural(len(self.grouping.groups), "group")
        return one_line(
            f"{self.source.name}: {groups}, {plural(self.channels, 'removable channel')}, "
            f"{count(costs.params)} parameters, {count(costs.macs)} MACs"
        )

    @property
    def shapes_to_try(self) -> list[dict[str, tuple[int, ...]]]:
        """Input shapes that the model may run at, those that it was analysed at first."""
        return [self.input_shapes, *self.other_shapes]

    @property
    def elsewhere(self) -> dict[str, tuple[int, ...]] | None:
        """The same inputs with every free dimension of another size; ``None`` if there is none."""
        found = _elsewhere(self.graph, self.input_shapes, self.state.shapes)
        return None if found is None else found[0]

    @property
    def channels(self) -> int:
        """Removable channels in all groups."""
        return sum(g.channels for g in self.grouping.groups)

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """States and caches: inputs that carry what went before, each with the output that gives it back."""
        return self.state.pairs or find_pairs(self.graph, self.state.shapes)

    @cached_property
    def blocks(self) -> dict[int, Block]:
        """What may go whole, by the group all of whose channels go (``operators.blocks``)."""
        return find_blocks(self.grouping, self.costs.emptying)

    def free_sizes(self) -> dict[str, set[int]]:
        """Per graph output the axes whose size the values of the inputs decide, not their shapes."""
        known = self.state.shapes
        found = {}
        for name in self.graph.outputs:
            shape = known.shape.get(name)
            axes = {i for i, size in enumerate(shape or ()) if size is None}
            if axes:
                found[name] = axes
        return found

    def cut(
        self,
        selection: Selection,
        note: Mapping[str, object] = MappingProxyType({}),
        take: Callable[[onnx.TensorProto], None] | None = None,
    ) -> Cut:
        """A new model without the channels that ``selection`` drops; raises CutError (see ``operators.rewrite``)."""
        return cut(self.graph, self.state, self.grouping, selection, note, take)

    @property
    def weight_bytes(self) -> int:
        """Bytes the weights take."""
        return self.costs.bytes_after(Selection(self.grouping))


def analyse_model(
    source: Source,
    given: dict[str, tuple[int, ...]],
    samples: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
    shrinking: Sequence[tuple[str, str]] | None = None,
) -> Analysis:
    """Analyse at the first shapes that fit the graph (``given`` ones always hold): usual ones, or those it implies.

    ``samples``: the shape of one sample per input, where there are samples; then free axes have their sizes.
    ``shrinking``: states may lose channels (see ``operators.analyse``).
    """
    graph = source.graph
    found = fitting(graph, given, samples)
    shapes, known, others = found.shapes, found.known, found.others
    check_rounds(graph, known, source.name)
    if known.unknown:
        shapes, known = _observed(graph, shapes, known, others)
    _declare(graph, shapes, known)
    elsewhere = _elsewhere(graph, shapes, known)
    if elsewhere is not None:
        known.compare(elsewhere[1])
    state = analyse(graph, known, shrinking)
    grouping = _trained(graph, build_groups(state))
    return Analysis(source, graph, shapes, others, state, grouping, Costs(graph, state, grouping))


def analysed_as_it_ran(
    source: Source, analysis: Analysis, feeds: Feeds, shrinking: Sequence[tuple[str, str]] | None = None
) -> Analysis:
    """At the shapes of inputs that a model ran on, made up: those that it was analysed at first need not run."""
    shapes = shapes_of(feeds)
    return analysis if shapes == analysis.input_shapes else analyse_model(source, shapes, shrinking=shrinking)


def fitting(
    graph: Graph, given: Mapping[str, tuple[int, ...]], samples: Mapping[str, tuple[int, ...]] = MappingProxyType({})
) -> Fitting:
    """At which input shapes the graph fits together; see ``analyse_model``."""
    return Fitting(
        graph, lambda sizes: input_shapes(graph, given, samples, sizes), lambda shapes: _interpret(graph, shapes)
    )


def shapes_at(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> Shapes:
    """Shapes of all tensors for inputs of these; those that inference misses onnxruntime shows."""
    known = _interpret(graph, shapes)
    return _interpret(graph, shapes, observe(graph, known, shapes)) if known.unknown else known


def _interpret(graph: Graph, shapes: dict[str, tuple[int, ...]], observed: Observed = MappingProxyType({})) -> Shapes:
    """Shapes of all tensors, of the operators that ``spa`` knows and ONNX doesn't too."""
    return interpret(graph, shapes, observed, shape_rules())


def _trained(graph: Graph, grouping: Grouping) -> Grouping:
    """Without groups in which nothing was trained: the bins of a transform between fixed matrices are no channels.

    Nor are maps of coordinates beside them, whatever reads those.
    """

    def untrained(group: Group) -> bool:
        made = [m for m in group.members if m.role != CONSUMER]
        # a filter bank that makes channels is as good as a layer, to what was trained behind it
        own = made if made and all(m.role == PASS_THROUGH for m in made) else group.members
        # the smallest first: a bias settles it
        names = sorted({m.tensor for m in own}, key=lambda n: math.prod(graph.shape(n)))
        return all(made_by_formula(graph, n) for n in names)

    fixed = [g for g in grouping.groups if untrained(g)]
    if not fixed:
        return grouping
    groups = [g for g in grouping.groups if g not in fixed]
    kept = {(m.tensor, m.axis) for g in groups for m in g.members}
    reason = Reason("is made by a formula (a transform, a table, a grid), not by training")
    places = {(m.tensor, m.axis) for g in fixed for m in g.members} - kept
    frozen = [*grouping.frozen, *(FrozenAxis(tensor, axis, reason) for tensor, axis in sorted(places))]
    occurrences = [o for g, o in zip(grouping.groups, grouping.occurrences, strict=True) if g not in fixed]
    return replace(grouping, groups=groups, frozen=frozen, occurrences=occurrences)


def _observed(
    graph: Graph, shapes: dict[str, tuple[int, ...]], known: Shapes, others: list[dict[str, tuple[int, ...]]]
) -> tuple[dict[str, tuple[int, ...]], Shapes]:
    """Let onnxruntime show the shapes that inference misses, at the first input shapes that it runs at."""
    for tried in (shapes, *others):
        found = known if tried is shapes else _interpret(graph, tried)
        seen = observe(graph, found, tried)
        if seen:
            found = _interpret(graph, tried, seen)
        if len(found.unknown) < len(known.unknown):
            return tried, found
    return shapes, known


def _declare(graph: Graph, shapes: dict[str, tuple[int, ...]], known: Shapes) -> None:
    """Give inputs of which the file declares no shape the one that was given; which of its axes are free is tried."""
    open_ = {name: graph.inputs[name] for name in shapes if input_dims(graph.inputs[name]) is None}
    for free in _FREE if open_ else ():
        for name, info in open_.items():
            graph.inputs[name] = declared(info, shapes[name], free(len(shapes[name])))
        other = _elsewhere(graph, shapes, known)
        if other is None or len(other[1].conflicts) <= len(known.conflicts):
            return


def _elsewhere(
    graph: Graph, shapes: dict[str, tuple[int, ...]], known: Shapes
) -> tuple[dict[str, tuple[int, ...]], Shapes] | None:
    """The same inputs with every free dimension of another size, and all shapes there; ``None`` if there is none.

    Longer where the model takes that, else shorter: a table of positions has an end. ``known``: at ``shapes``.
    """
    longer = other_sizes(graph, shapes)
    if longer == shapes:
        return None
    found = longer, _interpret(graph, longer)
    if len(found[1].conflicts) > len(known.conflicts):
        shorter = other_sizes(graph, shapes, longer=False)
        other = _interpret(graph, shorter)
        if len(other.conflicts) <= len(known.conflicts):
            return shorter, other
    return found
