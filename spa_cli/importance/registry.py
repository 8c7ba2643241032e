"""Criteria by name: what is asked of each member of a group, from which paper, and what it needs to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from spa_cli.channels.groups import Group
from spa_cli.channels.ranking import Ranking
from spa_cli.importance.evidence import Evidence, Scored
from spa_cli.text import summary_of

WEIGHTS, DATA, GRADIENTS = "weights", "data", "gradients"


# None: this group can't be scored. A Ranking: the criterion orders the channels itself.
Members = Callable[[Evidence, Group], list[Scored] | Ranking | None]
# the same, told what stands behind the colon of NAME:ARGUMENT
MembersOf = Callable[[Evidence, Group, str], list[Scored] | Ranking | None]
M = TypeVar("M", bound=Members)
N = TypeVar("N", bound=MembersOf)


@dataclass(frozen=True)
class Criterion:
    """``needs``: weights, data (calibration samples) or gradients. The defaults are what it is best with."""

    name: str
    summary: str
    needs: str
    members: MembersOf
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
        of = lambda evidence, group, _: members(evidence, group)  # noqa: E731 - typed by what it is entered as
        CRITERIA[name] = Criterion(name, summary_of(members), needs, of, aggregation, normalisation)
        return members

    return enter


def criterion_with_argument(name: str, needs: str = WEIGHTS, aggregation: str = "dynamic") -> Callable[[N], N]:
    """The same for one that is written NAME:ARGUMENT."""

    def enter(members: N) -> N:
        CRITERIA[name] = Criterion(name, summary_of(members), needs, members, aggregation, "none")
        return members

    return enter
