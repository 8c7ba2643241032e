"""States and caches, in words: what they keep whole, and what they lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from spa_cli.analysis import Analysis
from spa_cli.graph.states import Pair
from spa_cli.operators.states import stays
from spa_cli.text import plural


def keeps(analysis: Analysis, pair: Pair) -> int:
    """How many axes of weights are frozen because a state keeps its shape."""
    ends = [f"graph input '{pair.input}' ", f"graph output '{pair.output}' ", f"state '{pair.input}' "]
    return sum(f.reason.text.startswith(tuple(ends)) for f in analysis.grouping.frozen if f.counts)


def pairs_of(analysis: Analysis) -> list[Pair]:
    """Those of the model; where they may shrink, each with what keeps its shape nonetheless."""
    if not analysis.state.pairs:
        return [*analysis.pairs]
    return [replace(p, why=p.why or stays(analysis.state, p)) for p in analysis.state.pairs]


def states_lines(analysis: Analysis) -> list[str]:
    """What ``inspect`` says of them: those that lose channels with the rest, and those that keep their shapes."""
    pairs, found = pairs_of(analysis), []
    moving = [p for p in pairs if not p.why] if analysis.state.pairs else []
    kept = [p for p in pairs if p not in moving]
    if moving:
        found.append(f"{plural(len(moving), 'state')} may lose channels at both ends: {_named(moving)}")
    if kept:
        frozen = sum(keeps(analysis, p) for p in kept)
        also = f", and {plural(frozen, 'axis', 'axes')} of weights with {'it' if len(kept) == 1 else 'them'}"
        able = any(p.output and not p.why for p in kept)
        found.append(
            f"{plural(len(kept), 'state')} {'keeps its shape' if len(kept) == 1 else 'keep their shapes'}"
            f"{also if frozen else ''}: {_named(kept)}{'; --states shrink lets both ends shrink' if able else ''}"
        )
    return found


def _named(pairs: Sequence[Pair]) -> str:
    more = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    return f"{pairs[0].line}{f' ({pairs[0].why})' if pairs[0].why else ''}{more}"


def _left(kept: Sequence[Any]) -> int:
    """Of how many indices there are for each of another axis, or at all."""
    return len(kept[0]) if isinstance(kept[0], list) else len(kept)


def shrunk_line(states: Sequence[dict[str, Any]]) -> str:
    """What a pruned model takes and gives instead."""
    first = states[0]
    axes = ", ".join(f"{_left(left['kept'])} of {left['of']} on axis {a}" for a, left in sorted(first["axes"].items()))
    more = f", and {plural(len(states) - 1, 'state')} more" if len(states) > 1 else ""
    return f"shrunk: state '{first['input']}', given back as '{first['output']}', keeps {axes}{more}"
