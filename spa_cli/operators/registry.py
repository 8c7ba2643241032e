"""The table of all operators: one record each, made by a decorator in the file of its family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spa_cli.channels.state import Channels, Decline
from spa_cli.graph.known import Read
from spa_cli.graph.model import Node
from spa_cli.graph.shapes import Shape, ShapeRule
from spa_cli.operators.contracts import Contracts, ShapeOf
from spa_cli.surgery.cut import Cut

Relate = Callable[[Node, Channels], None]
Rewrite = Callable[[Node, Cut], None]

MICROSOFT = "com.microsoft"
BOTH = ("", MICROSOFT)
FOLLOWED, APPROXIMATE, FROZEN = "followed", "approximate", "frozen"


@dataclass(frozen=True)
class Norm:
    """Inputs with the scale and the offset (-1: none) that a normalisation applies to every channel along ``axis``."""

    axis: int
    scale: int = 1
    offset: int = 2


@dataclass(frozen=True)
class Record:
    """What ``spa`` knows of one operator.

    ``relate``: how it relates the axes of its tensors. ``rewrite``: what changes in its node after a cut.
    ``behaviour``: FOLLOWED, APPROXIMATE (it measures something over an axis: removing there is not zeroing), or FROZEN
    (everything it touches stays).

    ``contracts``: if it is a sum of products. ``cost``: its multiply-accumulates, where labels don't give them.
    ``norm``: if it scales channels. ``flat``: below and above what its output is constant, ``None`` if that is
    computed. ``settings``: inputs that are numbers or statistics, no weights. ``integers``: inputs whose
    integers stand for weights. ``shape``: of its outputs, where ONNX has no schema for it; or the name of the standard
    operator that it extends.
    """

    relate: Relate
    rewrite: Rewrite | None = None
    behaviour: str = FOLLOWED
    contracts: Contracts | None = None
    cost: Callable[[Node, ShapeOf], int] | None = None
    norm: Norm | None = None
    flat: Callable[[Node, Read], tuple[float, float] | None] | None = None
    settings: tuple[int, ...] = ()
    integers: tuple[int, ...] = ()
    shape: ShapeRule | str = ""

    @property
    def counted(self) -> bool:
        """Whether its multiply-accumulates count."""
        return self.contracts is not None or self.cost is not None

    def macs(self, node: Node, shape: ShapeOf) -> int:
        """Multiply-accumulates of a node, at the shapes that ``shape`` gives."""
        if self.cost is not None:
            return self.cost(node, shape)
        return 0 if self.contracts is None else self.contracts.macs(node, shape)


_RECORDS: dict[tuple[str, str], Record] = {}


def register(
    *names: str,
    domain: str | tuple[str, ...] = "",
    rewrite: Rewrite | None = None,
    behaviour: str = FOLLOWED,
    contracts: Contracts | None = None,
    cost: Callable[[Node, ShapeOf], int] | None = None,
    norm: Norm | None = None,
    flat: Callable[[Node, Read], tuple[float, float] | None] | None = None,
    settings: tuple[int, ...] = (),
    integers: tuple[int, ...] = (),
    shape: ShapeRule | str = "",
) -> Callable[[Relate], Relate]:
    """Decorator: this function relates these operators (names as in the ONNX specification, space-separated)."""
    domains = (domain,) if isinstance(domain, str) else domain

    def add(relate: Relate) -> Relate:
        record = Record(relate, rewrite, behaviour, contracts, cost, norm, flat, settings, integers, shape)
        _RECORDS.update({(where, name): record for where in domains for name in " ".join(names).split()})
        return relate

    return add


def records() -> dict[tuple[str, str], Record]:
    """Records by (domain, name)."""
    return _RECORDS


def record_of(node: Node) -> Record:
    """The record of a node's operator; one nobody has heard of freezes what touches it, as does a malformed node."""
    return _UNKNOWN if node.faults else _RECORDS.get((node.domain, node.op), _UNKNOWN)


def contracts_of(node: Node) -> Contracts:
    """How a node, of an operator that contracts, does it."""
    found = record_of(node).contracts
    assert found is not None
    return found


def output_axes(node: Node, weight: str, rank: int) -> list[int]:
    """Axes of a weight of that rank along which a node makes channels; none if it does not multiply by it."""
    contracts = record_of(node).contracts
    names = contracts.inputs(node) if contracts else []
    if contracts is None or weight not in names:
        return []
    return contracts.labels(node, [rank] * len(names)).output_axes(names.index(weight))


def contracting() -> set[str]:
    """Names of the operators that contract."""
    return {name for (_, name), record in _RECORDS.items() if record.contracts is not None}


def shape_rules() -> dict[tuple[str, str], ShapeRule | str]:
    """For ``graph.shapes.interpret``: shapes of operators that ONNX has no schema for."""
    return {key: record.shape for key, record in _RECORDS.items() if record.shape}


def like_first(node: Node, shapes: list[Shape | None]) -> list[Shape]:
    """The shape rule of an operator whose output has the shape of its first input."""
    return [] if shapes[0] is None else [shapes[0]]


def _unknown(node: Node, state: Channels) -> None:
    if node.faults:
        raise Decline(node.faults[0])
    name = f"{node.domain}::{node.op}" if node.domain else node.op
    raise Decline(f"spa has no rule for operator {name}")


_UNKNOWN = Record(_unknown, behaviour=FROZEN)
