"""What may go: name patterns, floors, caps, multiples."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from spa_cli.channels.groups import Group
from spa_cli.channels.state import CONSUMER


@dataclass(frozen=True)
class Constraints:
    """What may go: name patterns, floors, caps, and the multiple that widths have to be of.

    ``whole``: kinds of groups that may not.
    """

    ignore: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    round_to: int = 1
    min_channels: int = 1
    max_group_ratio: float = 1.0
    exact_only: bool = False
    whole: tuple[str, ...] = ()

    def allows(self, group: Group) -> bool:
        """Whether the group may lose channels at all."""
        if group.kind in self.whole or (self.exact_only and not group.exact):
            return False
        if self.only and not _any_match(names(group, makers=True), self.only):
            return False
        return not _any_match(names(group, makers=False), self.ignore)


def names(group: Group, makers: bool) -> set[str]:
    """What a pattern may call a group; ``makers``: leave out those that only read its channels."""
    members = [m for m in group.members if not makers or m.role != CONSUMER]
    return {group.name, group.tensor, *(m.tensor for m in members), *(m.node for m in members)}


def _any_match(names: set[str], patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(n, p) for n in names for p in patterns)
