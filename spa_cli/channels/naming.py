"""What groups are called: where a person would look for them in the network, and what they are there.

``layer.0/attention/heads`` are the heads of an attention, ``layer.0/attention/v`` the dimensions of its values (``qk``:
of queries and keys), ``layer.0/ffn`` the hidden channels between two matrices, ``stage2 residual`` the channels that
blocks add to, ``stage1.0/conv1`` those that one layer makes. Where two would be called the same, both are called more
exactly; where no path in a file tells, layers are counted (``conv 3``, ``attention 2/heads``), unless weights or nodes
have names that say something.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from spa_cli.channels.counting import MATRICES, Counted
from spa_cli.channels.group import Group, Member
from spa_cli.channels.places import Place, Places, common, components, says_nothing, written
from spa_cli.channels.state import CONSUMER, PRODUCER
from spa_cli.graph.model import Graph, Node

BLOCKS, INSIDE, RESIDUAL = "/blocks", "/inside", "residual"
_SUMS = frozenset(["Add", "Sum", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])
# where more than this share of what adds to a residual lies, it is said to lie
_MOST = 0.5


@dataclass(frozen=True)
class _Known:
    """``part``: "/blocks" or "/inside" where an axis is cut in two ways; ``made``, ``read``: where its producers and
    consumers are, in the order of the nodes; ``matrices``: whether all are matrix products; ``node``, ``operator``: the
    first one's name, and what it is; ``at``: its place in the order of the nodes; ``counted``: what number of layer
    it is.
    """

    group: Group
    part: str
    made: list[Place]
    read: list[Place]
    matrices: bool
    residual: bool
    node: str
    operator: str
    at: int
    counted: str

    @property
    def own(self) -> Place:
        return next(filter(None, self.made), ())


def named(groups: Sequence[Group], parts: Sequence[str], held: Sequence[Sequence[str]], graph: Graph) -> list[Group]:
    """The groups, each with a name of its own.

    ``parts``: "/blocks", "/inside" or "" per group; ``held``: the tensors that its channels are in.
    """
    places, order = Places(graph), {id(node): at for at, node in enumerate(graph.all_nodes)}
    counted = Counted(graph, places)
    known = [_known(g, part, t, places, graph, order, counted) for g, part, t in zip(groups, parts, held, strict=True)]
    outer = _outer([p for k in known for p in (*k.made, *k.read) if p])
    sites, attentions = _sites(known), _attentions(known)
    parts_of = zip(known, sites, attentions, strict=True)
    wanted = [_candidates(k, site, attention, len(outer)) for k, site, attention in parts_of]
    kinds = [_kind(k, graph) for k in known]
    told = zip(groups, _distinct(wanted), kinds, strict=True)
    return [replace(group, name=name, kind=kind) for group, name, kind in told]


def _known(
    group: Group,
    part: str,
    held: Sequence[str],
    places: Places,
    graph: Graph,
    order: dict[int, int],
    counted: Counted,
) -> _Known:
    def at(member: Member) -> int:
        node = places.node(member.tensor)
        return order[id(node)] if node is not None else len(order)

    makers = sorted((m for m in group.members if m.role == PRODUCER), key=at) or list(group.members[:1])
    readers = sorted((m for m in group.members if m.role == CONSUMER), key=at)
    first = places.node(makers[0].tensor)
    operators = {node.op for m in group.members if (node := places.node(m.tensor)) is not None}
    matrices = bool(operators & MATRICES) and not any("Conv" in op for op in operators)
    made, read = ([places.of(m.tensor) for m in some] for some in (makers, readers))
    residual = not part and len(makers) > 1 and _added(set(held), graph)
    name, operator = (first.name, first.op) if first is not None else ("", "")
    number = counted.of(makers[0].tensor)
    return _Known(group, part, made, read, matrices, residual, name, operator, at(makers[0]), number)


def _kind(known: _Known, graph: Graph) -> str:
    makers = [m.tensor for m in known.group.members if m.role == PRODUCER]
    if known.part and known.matrices and not known.read and makers and all(len(graph.shape(m)) > 1 for m in makers):
        # those of queries and keys are of one head, however they are laid out (scales of packed weights tell no reader)
        return INSIDE
    return known.part or (RESIDUAL if known.residual else "")


def _added(held: set[str], graph: Graph) -> bool:
    """Whether two activations that have these channels are added."""

    def sums(node: Node | None) -> bool:
        if node is None or node.op not in _SUMS:
            return False
        return sum(name in held and name not in graph.parameters for name in node.inputs) > 1

    return any(sums(graph.producers.get(name)) for name in held)


def _outer(places: Sequence[Place]) -> Place:
    """What all places begin with and need not say: down to the first that is counted."""
    shared = common(places)[: min(map(len, places), default=1) - 1]
    counted = next((at for at, word in enumerate(shared) if word.startswith(".")), len(shared))
    while counted and any(len(p) > counted and p[counted].startswith(".") for p in places):
        counted -= 1
    return shared[:counted]


def _sites(known: Sequence[_Known]) -> list[Place]:
    """Per group that is a part of an axis, where all parts of the axes it is on lie together."""
    found = [common(p for at in beside for p in (*known[at].made, *known[at].read)) for beside in _beside(known)]
    # what many layers share does not lie in one of them
    own = [common([*k.made, *k.read]) for k in known]
    return [site if _counted(site) == _counted(alone) else alone for site, alone in zip(found, own, strict=True)]


def _beside(known: Sequence[_Known]) -> list[list[int]]:
    """Per group that is a part of an axis of a matrix, those with parts of axes of the same ones."""
    tensors = [{m.tensor for m in k.group.members} if k.part and k.matrices else set[str]() for k in known]
    by_tensor: dict[str, list[int]] = {}
    for at, some in enumerate(tensors):
        for tensor in some:
            by_tensor.setdefault(tensor, []).append(at)
    return [sorted({at for tensor in some for at in by_tensor[tensor]}) for some in tensors]


def _attentions(known: Sequence[_Known]) -> list[int]:
    """Per such group, which of them it is a part of, counted from 1 in the order of the nodes."""
    first, beside = list(range(len(known))), _beside(known)
    for _ in known:
        nearer = [min((first[at] for at in some), default=own) for own, some in zip(first, beside, strict=True)]
        if nearer == first:
            break
        first = nearer
    began: dict[int, int] = {}
    for k, own in zip(known, first, strict=True):
        began[own] = min(k.at, began.get(own, k.at))
    counted = sorted((at, own) for own, at in began.items() if beside[own])
    numbers = {own: number for number, (_, own) in enumerate(counted, 1)}
    return [numbers.get(own, 0) for own in first]


def _counted(place: Place) -> int:
    return sum(word.startswith(".") for word in place)


def _candidates(known: _Known, site: Place, attention: int, outer: int) -> list[str]:
    """Names from the plainest to the most exact; ``attention``: of which it is a part, by number."""

    def say(place: Place, role: str = "") -> str:
        return written((*place[outer:], *([role] if role else [])))

    def plain(place: Place, role: str = "") -> str:
        # from the first that is counted on
        counted = next((at - 1 for at, word in enumerate(place) if at and word.startswith(".")), outer)
        return written((*place[max(counted, outer) :], *([role] if role else [])))

    own, made = known.own, common(known.made)
    fallback = f"{_last_resort(known)}{known.part}"
    if known.residual:
        whole = common(known.made, _MOST)
        last = plain(whole) if whole and whole[-1].startswith(".") else written(whole[outer:][-1:])
        found = [f"{last} residual".strip(), f"{say(whole)} residual".strip()]
        found += [f"{say(own) if own else fallback} residual"]
    elif not own and known.read and known.read[0]:
        found = [f"{say(known.read[0])} input{known.part}"]
    elif known.part and known.matrices:
        # nothing reads the channels of queries and keys but their product
        role = "qk" if not known.read else "heads" if known.part == BLOCKS else "v"
        found = [call(place, role) for place in (site, made, own) for call in (plain, say)]
        found = [name for name in found if name != role] or [f"attention {attention}/{role}"]
    elif not own:
        found = []
    elif known.part:
        found = [plain(own) + known.part, say(own) + known.part]
    elif known.matrices and known.read:
        whole = common([*known.made, *known.read])
        role = "ffn" if whole and whole[-1].startswith(".") else ""
        found = [plain(whole, role), say(whole, role)] if whole[outer:] else []
        found += [plain(own), say(own)]
    else:
        found = [plain(own), say(own)]
    # several operators of one module
    node = f"{say(components(known.node))}{known.part}" if own and "/" in known.node else ""
    # a number alone is no name, with what is there it is
    names = (f"{n}/{known.operator}" if re.fullmatch(r"[\d.]+", n) and known.operator else n for n in (*found, node))
    return [*filter(None, names), fallback]


def _last_resort(known: _Known) -> str:
    """What a group is called where no path tells: its weight, its node, or what number of layer it is, whatever says
    something first.
    """
    first = next((m for m in known.group.members if m.role == PRODUCER), known.group.members[0])
    if not says_nothing(first.tensor):
        return first.tensor
    if known.node and not says_nothing(known.node):
        return known.node
    return known.counted or known.node or first.tensor


def _distinct(wanted: Sequence[Sequence[str]]) -> list[str]:
    """The first name of each that no other has; those that nothing tells apart are counted."""
    # once each: what was given up is not taken up again
    wanted = [list(dict.fromkeys(some)) for some in wanted]
    names, alike = [some[0] for some in wanted], set[str]()
    while clashing := [name for name, times in Counter(names).items() if times > 1 and name not in alike]:
        for name in clashing:
            members = [i for i, own in enumerate(names) if own == name]
            more = _apart([wanted[i][wanted[i].index(name) + 1 :] for i in members])
            alike |= set() if more else {name}
            for i, exact in zip(members, more, strict=bool(more)):
                names[i] = exact
    counts, found, taken = Counter[str](), list[str](), set(names)
    for name in names:
        counts[name] += 1
        # a number must not make it another's name
        while counts[name] > 1 and f"{name}#{counts[name]}" in taken:
            counts[name] += 1
        found.append(name if counts[name] == 1 else f"{name}#{counts[name]}")
    return found


def _apart(wanted: Sequence[Sequence[str]]) -> list[str]:
    """The plainest of the more exact names that tell some of these apart (the last resort: all); none if none do."""
    for level in range(max(map(len, wanted))):
        names = [some[min(level, len(some) - 1)] for some in wanted if some]
        last = any(level >= len(some) - 1 for some in wanted)
        if len(names) == len(wanted) and len(set(names)) > (len(names) - 1 if last else 1):
            return names
    return []
