"""Blocks that may go whole: which groups of a model may lose all their channels, and what goes with each."""

from __future__ import annotations

from dataclasses import dataclass

from spa_cli.channels.groups import Grouping
from spa_cli.errors import CutError
from spa_cli.graph.model import Node
from spa_cli.operators.bypass import Bypass, Emptying


@dataclass(frozen=True, eq=False)
class Block:
    """What goes whole if group ``index`` loses all its channels.

    ``name``: of the layer that then gives a constant. ``groups``: all groups that go, ``index`` among them.
    ``residual``: whether the constant is added (it is a factor where a gate goes).
    """

    index: int
    name: str
    bypass: Bypass
    residual: bool

    @property
    def groups(self) -> frozenset[int]:
        """All groups that go, by index."""
        return self.bypass.groups


def find_blocks(grouping: Grouping, emptying: Emptying) -> dict[int, Block]:
    """Blocks by the index of the group that they go with, in the order of the groups.

    Where several groups take the same along (the heads of an attention, the channels of its values) the first one
    stands for it. Blocks may hold others (the gate inside a residual block): ``groups`` tells.
    """
    found: dict[frozenset[Node], Block] = {}
    for index in range(len(grouping.groups)):
        try:
            bypass = emptying.without([index])
        except CutError:
            continue
        if not bypass.meetings:
            continue
        residual = all(m.node.op in ("Add", "Sum") for m in bypass.meetings)
        found.setdefault(bypass.dead, Block(index, bypass.ends[-1].label, bypass, residual))
    return {block.index: block for block in found.values()}
