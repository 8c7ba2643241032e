"""The table of all operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spa_cli.channels.state import Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.surgery.cut import Cut

Relate = Callable[[Node, Channels], None]
Rewrite = Callable[[Node, Cut], None]

MICROSOFT = "com.microsoft"


FOLLOWED, APPROXIMATE, FROZEN = "followed", "approximate", "frozen"


@dataclass(frozen=True)
class Rule:
    """What ``spa`` knows of one operator.

    ``behaviour``: FOLLOWED, APPROXIMATE (it measures something over an axis: removing there is not zeroing), or FROZEN
    (everything it touches stays).
    """

    relate: Relate
    rewrite: Rewrite | None = None
    behaviour: str = FOLLOWED


_RULES: dict[tuple[str, str], Rule] = {}


def register(
    *operators: str, domain: str = "", rewrite: Rewrite | None = None, behaviour: str = FOLLOWED
) -> Callable[[Relate], Relate]:
    """Decorator: this function relates these operators (names as in the ONNX specification, space-separated)."""

    def add(relate: Relate) -> Relate:
        for operator in " ".join(operators).split():
            _RULES[domain, operator] = Rule(relate, rewrite, behaviour)
        return relate

    return add


def rules() -> dict[tuple[str, str], Rule]:
    """Rules by (domain, operator)."""
    return _RULES


def rule_for(node: Node) -> Rule:
    """The rule of a node; an operator nobody has heard of freezes what touches it."""
    return _RULES.get((node.domain, node.op), _UNKNOWN)


def _unknown(node: Node, state: Channels) -> None:
    name = f"{node.domain}::{node.op}" if node.domain else node.op
    raise Decline(f"spa has no rule for operator {name}")


_UNKNOWN = Rule(_unknown, behaviour=FROZEN)
