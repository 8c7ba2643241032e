"""A network run stretch by stretch, where all that is asked of it at once would take too much memory.

Between two stretches only what is read later is kept: they part where that is least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spa_cli.graph.bodies import captured_names
from spa_cli.graph.model import Graph

Size = Callable[[str], int]


@dataclass(frozen=True)
class Stretch:
    """``names`` are fetched in one run, for the requests ``served``; ``kept`` of what there is then is read later."""

    names: tuple[str, ...]
    kept: frozenset[str]
    served: tuple[int, ...]


def stretches(
    graph: Graph, requests: Sequence[Sequence[str]], takes: Sequence[int], size: Size, room: float
) -> list[Stretch]:
    """Stretches that serve all requests, each as soon as all its tensors are there.

    ``takes``: bytes that each request takes beside its tensors; ``size``: bytes of a tensor for one run. ``room``: for
    all of a stretch (one request may take more).
    """
    made = {o: at for at, node in enumerate(graph.nodes) for o in node.outputs if o}
    ready = [max((made[n] for n in names if n in made), default=-1) for names in requests]
    last = _last_reads(graph, made)
    for at, names in zip(ready, requests, strict=True):
        for name in names:
            last[name] = max(last.get(name, -1), at)
    alive = _alive(graph, last, size)
    parts: list[list[int]] = []
    fetched, used = set[str](), 0
    for index in sorted(range(len(requests)), key=lambda i: ready[i]):
        new = {n for n in requests[index] if n in made} - fetched
        more = takes[index] + sum(map(size, new))
        if not parts or (used + more > room and ready[index] > ready[parts[-1][-1]]):
            parts.append([])
            fetched, used = set(), 0
            more = takes[index] + sum(map(size, (n for n in requests[index] if n in made)))
        parts[-1].append(index)
        fetched |= new
        used += more
    found = []
    for number, part in enumerate(parts):
        begin = max((ready[i] for i in part), default=-1)
        final = number + 1 == len(parts)
        end = begin if final else min(range(begin, _first(ready, parts[number + 1])), key=alive.__getitem__)
        kept = frozenset[str]() if final else frozenset(n for n, at in made.items() if at <= end < last.get(n, -1))
        wanted = dict.fromkeys(n for i in part for n in requests[i] if n in made)
        found.append(Stretch((*wanted, *sorted(kept - wanted.keys())), kept, tuple(part)))
    return found


def _first(ready: list[int], part: list[int]) -> int:
    return min(ready[i] for i in part)


def _last_reads(graph: Graph, made: dict[str, int]) -> dict[str, int]:
    last = {n: at for at, node in enumerate(graph.nodes) for n in {*node.inputs, *captured_names(node.proto)}}
    return {name: at for name, at in last.items() if name in made}


def _alive(graph: Graph, last: dict[str, int], size: Size) -> list[int]:
    """Bytes that are kept if a stretch ends after each node."""
    changes = [0] * (len(graph.nodes) + 1)
    for at, node in enumerate(graph.nodes):
        for name in node.outputs:
            if name and last.get(name, -1) > at:
                changes[at] += size(name)
                changes[last[name]] -= size(name)
    total, found = 0, []
    for change in changes:
        total += change
        found.append(total)
    return found
