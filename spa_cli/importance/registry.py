"""Criteria by name: what is asked of each member of a group, from which paper, and what it needs to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from spa_cli.channels.groups import Group
from spa_cli.channels.ranking import Ranking, Scores

if TYPE_CHECKING:
    from spa_cli.importance.evidence import Evidence

WEIGHTS, DATA, GRADIENTS = "weights", "data", "gradients"


class Scored(NamedTuple):
    """Scores of a group's channels in one member, (c,) or (b, c); ``node`` uses it in ``role`` ("": always counts)."""

    role: str
    node: str
    scores: Scores


# None: this group can't be scored. A Ranking: the criterion orders the channels itself.
Members = Callable[["Evidence", Group], "list[Scored] | Ranking | None"]
M = TypeVar("M", bound=Members)


@dataclass(frozen=True)
class Criterion:
    """``needs``: weights, data (calibration samples) or gradients. The defaults are what it is best with."""

    name: str
    summary: str
    needs: str
    members: Members
    aggregation: str
    normalisation: str

    @property
    def ranks(self) -> bool:
        """Whether it orders channels itself, with nothing to aggregate."""
        return not self.aggregation


CRITERIA: dict[str, Criterion] = {}


def criterion(
    name: str, needs: str = WEIGHTS, aggregation: str = "dynamic", normalisation: str = "none"
) -> Callable[[M], M]:
    """Enter a criterion under a name; the first line of its docstring is what ``spa criteria`` says of it."""

    def enter(members: M) -> M:
        summary = (members.__doc__ or "").strip().splitlines()[0].rstrip(".")
        CRITERIA[name] = Criterion(name, summary, needs, members, aggregation, normalisation)
        return members

    return enter
