"""A group of coupled channels, and its members."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spa_cli.channels.ids import Reason
from spa_cli.text import one_line, plural


@dataclass(frozen=True)
class Member:
    """An axis of a parameter that loses ``rows`` indices with every channel of the group."""

    tensor: str
    axis: int
    role: str
    node: str
    rows: int


@dataclass(frozen=True, eq=False, repr=False)
class Group:
    """Coupled channels of the same pattern.

    ``ids`` (c,): one representative id per coupled channel. ``blocks`` (b,): if not empty, the ids of equal blocks
    (heads, groups, directions) each of which may keep *different* channels, as long as all keep the same number.
    ``inexact`` is the reason why removing is not zeroing, empty if it is. ``name`` says where it is and what
    (``channels.naming``), ``tensor`` is the first weight that makes it, and what of that is cut. ``kind``: "/blocks" or
    "/inside" where an axis is cut in two ways (heads and their dimensions), "residual" for what blocks add to.
    """

    name: str
    ids: NDArray[np.int64]
    blocks: NDArray[np.int64]
    members: tuple[Member, ...]
    inexact: Reason | None
    tensor: str = ""
    kind: str = ""

    def __repr__(self) -> str:
        several = f"{len(self.blocks)} x " if len(self.blocks) else ""
        kind = "exact" if self.exact else "approximate"
        axes = plural(len(self.members), "axis", "axes")
        return one_line(f"<Group {self.name}: {several}{plural(self.channels, 'channel')} on {axes}, {kind}>")

    @property
    def channels(self) -> int:
        """How many coupled channels there are (per block)."""
        return len(self.ids)

    @property
    def exact(self) -> bool:
        """Whether removing a channel equals zeroing it."""
        return self.inexact is None
