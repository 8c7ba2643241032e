"""The bill: what is left of a model, in every coin, where so many channels of each group are gone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spa_cli.budget.costs import Costs
from spa_cli.budget.ties import Ties
from spa_cli.budget.widths import Widths, distinct
from spa_cli.channels.groups import Grouping
from spa_cli.channels.ids import Rows
from spa_cli.graph.model import Node
from spa_cli.operators.contracts import ShapeOf

_NO_TIES = Ties()
CHANNELS, MACS, PARAMS, BYTES, SECONDS = "channels", "macs", "params", "bytes", "seconds"
Counts = NDArray[np.int64]
Values = NDArray[np.float64]
Quantity = Callable[[ShapeOf], float]


class Clock(Protocol):
    """How long nodes take by the work that they do and by their widths."""

    @property
    def nodes(self) -> Sequence[Node]:
        """All that are timed."""
        ...

    def work(self, node: Node, shape: ShapeOf) -> float:
        """How much a node does, in a unit of its own."""
        ...

    def seconds(self, node: Node, work: Values, widths: Counts) -> Values:
        """(k,) for ``work`` (k,) at ``widths`` (a, k): the lengths of those axes from which channels can go.

        Rows are ``distinct(Widths.axes(...))`` of the node's inputs and outputs. Any unit will do that all nodes share.
        """
        ...


class Bill:
    """Costs relative to the dense model's, by coin and by how many channels of each group (g,) are gone.

    ``clock``: how long nodes take, where seconds are a coin. ``blocks``: groups that may lose all their channels.
    ``ties``: groups of which as many go as of the first of them, whatever is said of the others.
    """

    def __init__(
        self,
        costs: Costs,
        grouping: Grouping,
        clock: Clock | None = None,
        blocks: Iterable[int] = (),
        ties: Ties = _NO_TIES,
    ) -> None:
        self._costs, self._grouping, self.clock, self._ties = costs, grouping, clock, ties
        self._widths = Widths(grouping)
        self._channels = sum(g.channels for g in grouping.groups)
        # what costs nothing where a group is gone whole
        self._dies: dict[Node | str, dict[int, int]] = defaultdict(dict)
        for index in blocks:
            gone = costs.emptying.without([index])
            for dead in gone.dead:
                self._dies[dead][index] = grouping.groups[index].channels
            for unread in gone.unread:
                self._dies[unread][index] = grouping.groups[index].channels
        self._terms: dict[str, list[_Term]] = {}
        self._touching: dict[str, list[list[_Term]]] = {}
        self._whole: dict[str, float] = {}

    def left(self, coin: str, gone: Sequence[int]) -> float:
        """What is left in a coin."""
        gone = self._ties.spread(gone)
        if coin == CHANNELS:
            return 1 - sum(gone) / self._channels
        return sum(term.at(gone) for term in self._of(coin)) / self._whole[coin]

    def change(self, coin: str, group: int, counts: Counts, gone: Sequence[int]) -> Values:
        """By how much that changes if ``counts`` (k,) channels of a group were gone instead, (k,)."""
        groups, gone = self._ties.of(group), self._ties.spread(gone)
        if coin == CHANNELS:
            return np.asarray(len(groups) * (gone[group] - counts) / self._channels, np.float64)
        self._of(coin)
        found = np.zeros(len(counts))
        # what several of them touch changes once
        for term in dict.fromkeys(term for one in groups for term in self._touching[coin][one]):
            found += term.over(groups, counts, gone) - term.at(gone)
        return found / self._whole[coin]

    def _of(self, coin: str) -> list[_Term]:
        if coin not in self._terms:
            terms = self._terms[coin] = self._made(coin)
            self._whole[coin] = sum(t.at([0] * len(self._grouping.groups)) for t in terms) or 1.0
            touching: list[list[_Term]] = [[] for _ in self._grouping.groups]
            for term in terms:
                for group in term.groups:
                    touching[group].append(term)
            self._touching[coin] = touching
        return self._terms[coin]

    def _made(self, coin: str) -> list[_Term]:
        costs, clock = self._costs, self.clock
        if coin == SECONDS:
            assert clock is not None
            return [self._of_node(n, clock.work, clock.seconds) for n in clock.nodes]
        if coin == MACS:
            return [self._of_node(n, costs.macs_of) for n in costs.nodes]
        item: Callable[[str], float] = costs.item if coin == BYTES else lambda _: 1.0
        return [self._of_weight(w, item(w)) for w in costs.weights]

    def _of_weight(self, weight: str, item: float) -> _Term:
        axes, dies = self._axes([weight]), self._dies.get(weight, {})
        return _Term(self._costs, self._widths, axes, dies, lambda shape: item * math.prod(shape(weight)))

    def _of_node(
        self,
        node: Node,
        quantity: Callable[[Node, ShapeOf], float],
        seconds: Callable[[Node, Values, Counts], Values] | None = None,
    ) -> _Term:
        axes = self._axes([n for n in (*node.inputs, *node.outputs) if n])
        timed = None if seconds is None else lambda work, widths: seconds(node, work, widths)
        dies = self._dies.get(node, {})
        return _Term(self._costs, self._widths, axes, dies, lambda shape: quantity(node, shape), timed)

    def _axes(self, names: list[str]) -> dict[tuple[str, int], Rows]:
        return self._widths.axes(names, self._costs.dense)


class _Term:
    """What one node or weight costs: a quantity of its shapes, or what a clock makes of that.

    ``dies``: how many channels of which groups there are, any of which all gone leaves nothing of it.
    """

    def __init__(
        self,
        costs: Costs,
        widths: Widths,
        axes: dict[tuple[str, int], Rows],
        dies: Mapping[int, int],
        quantity: Quantity,
        timed: Callable[[Values, Counts], Values] | None = None,
    ) -> None:
        self._costs, self._widths, self._axes, self._quantity, self._timed = costs, widths, axes, quantity, timed
        self._rows, self._dies = distinct(axes), dies
        self.groups = sorted({*dies, *(g for r in self._rows for g in widths.groups(r))})
        self._known: dict[tuple[int, ...], float] = {}
        self._costly: dict[tuple[int, ...], float] = {}
        self._curves: dict[tuple[int, ...], Values] = {}

    def at(self, gone: Sequence[int]) -> float:
        """With so many channels of each group gone."""
        key = tuple(gone[i] for i in self.groups)
        if any(gone[i] == whole for i, whole in self._dies.items()):
            return 0.0
        if self._timed is None:
            return self._amount(key, gone)
        if key not in self._costly:
            widths = np.array([[self._widths.of(r, gone)] for r in self._rows], np.int64).reshape(-1, 1)
            self._costly[key] = float(self._timed(np.array([self._amount(key, gone)]), widths)[0])
        return self._costly[key]

    def over(self, groups: tuple[int, ...], counts: Counts, gone: Sequence[int]) -> Values:
        """With ``counts`` (k,) of one group, or of each of several, gone instead, (k,)."""
        key = (groups[0], len(counts), int(counts[-1]), *(gone[i] for i in self.groups if i not in groups))
        if key not in self._curves:
            self._curves[key] = self._with_blocks(groups, counts, gone)
        return self._curves[key]

    def _with_blocks(self, groups: tuple[int, ...], counts: Counts, gone: Sequence[int]) -> Values:
        """Nothing is left where all channels of a group are gone that it dies with."""
        if any(gone[i] == whole for i, whole in self._dies.items() if i not in groups):
            return np.zeros(len(counts))
        if not any(counts[-1] == self._dies.get(group) for group in groups):
            return self._curve(groups, counts, gone)
        return np.append(self._curve(groups, counts[:-1], gone), 0.0)

    def _curve(self, groups: tuple[int, ...], counts: Counts, gone: Sequence[int]) -> Values:
        other = list(gone)

        def change(count: int) -> None:
            for group in groups:
                other[group] = count

        def amount(count: int) -> float:
            change(count)
            return self._amount(tuple(other[i] for i in self.groups), other)

        work = _along(counts, amount)
        if self._timed is None:
            return work

        def width(rows: Rows, count: int) -> float:
            change(count)
            return self._widths.of(rows, other)

        widths = [_along(counts, lambda count, rows=rows: width(rows, count)) for rows in self._rows]  # type: ignore[misc]
        return self._timed(work, np.rint(np.array(widths)).astype(np.int64).reshape(-1, len(counts)))

    def _amount(self, key: tuple[int, ...], gone: Sequence[int]) -> float:
        if key not in self._known:

            def shape(name: str) -> tuple[int, ...]:
                whole = self._costs.dense(name)
                axes = ((name, at) for at in range(len(whole)))
                return tuple(
                    self._widths.of(self._axes[p], gone) if p in self._axes else size
                    for p, size in zip(axes, whole, strict=True)
                )

            self._known[key] = self._quantity(shape)
        return self._known[key]


def _along(counts: Counts, value: Callable[[int], float]) -> Values:
    """Values at ``counts``, of what mostly is a polynomial of second degree at most: looked at in four places."""
    last = len(counts) - 1
    if last < 4:
        return np.array([value(int(c)) for c in counts], np.float64)
    x, places = counts / max(int(counts[-1]), 1), (0, 2 * last // 3, last)
    (x0, x1, x2), (y0, y1, y2) = (x[i] for i in places), (value(int(counts[i])) for i in places)
    # Newton's divided differences
    first, second = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    found = y0 + (x - x0) * (first + (x - x1) * (second - first) / (x2 - x0))
    if abs(found[last // 3] - value(int(counts[last // 3]))) > 1e-9 * max(abs(y0), abs(y1), abs(y2)):
        return np.array([value(int(c)) for c in counts], np.float64)
    return np.asarray(found, np.float64)
