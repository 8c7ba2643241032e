"""Figures and tables that the pages of ``prune`` and ``inspect`` share."""

from __future__ import annotations

from dataclasses import dataclass

from spa_cli.analysis import Analysis
from spa_cli.channels.groups import FrozenAxis
from spa_cli.channels.selection import Selection
from spa_cli.report.page.bars import Bar, before_and_after
from spa_cli.report.page.layers import LayerCost
from spa_cli.report.page.measure import Profiles
from spa_cli.report.page.theme import Drawn, Number
from spa_cli.text import count, duration, plural

# layers that can lose nothing are drawn beside the others as long as there are few
_FEW = 60


@dataclass(frozen=True)
class Frozen:
    """Axes that stay for one reason."""

    reason: str
    axes: list[FrozenAxis]


def frozen(analysis: Analysis) -> list[Frozen]:
    """Every frozen axis by its reason, the most frequent first."""
    found: dict[str, list[FrozenAxis]] = {}
    for axis in analysis.grouping.frozen:
        found.setdefault(axis.reason.text, []).append(axis)
    return [Frozen(text, axes) for text, axes in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))]


def groups_table(analysis: Analysis, selection: Selection | None = None) -> list[list[str | Number]]:
    """One line a group: what is in it, what a channel costs, what stays."""
    rows: list[list[str | Number]] = []
    widths = {} if selection is None else selection.widths
    for index, group in enumerate(analysis.grouping.groups):
        params, macs = analysis.costs.per_channel(index, group)
        kept = widths.get(index, group.channels)
        rows.append(
            [
                Number(index + 1, str(index + 1)),
                group.name,
                group.tensor,
                Number(
                    group.channels,
                    f"{len(group.blocks)} x {group.channels}" if len(group.blocks) else str(group.channels),
                ),
                *([Number(kept, str(kept))] if selection is not None else []),
                Number(len(group.members), str(len(group.members))),
                Number(params, count(params)),
                Number(macs, count(macs)),
                "exact" if group.inexact is None else f"approximate: {group.inexact.text}",
            ]
        )
    return rows


def widths(found: list[LayerCost], pruned: bool) -> Drawn | None:
    """Widths by layer."""
    shown = [x for x in found if x.width is not None and (x.moves or len(found) <= _FEW)]
    bars: list[Bar] = [(x.name, x.width[0], x.width[1] if pruned else None) for x in shown if x.width is not None]
    if not bars:
        return None
    label = f"Width of {plural(len(bars), 'layer')}{', before and after' if pruned else ''}"
    caption = "How many channels each layer gives, in network order."
    if len(shown) < len(found):
        caption += " Layers that no group touches are left out."
    return before_and_after("widths", bars, lambda n: f"{n:.0f}", "channels", label, caption)


def macs(found: list[LayerCost], pruned: bool) -> Drawn | None:
    """Multiply-accumulates by layer."""
    bars: list[Bar] = [(x.name, x.macs[0], x.macs[1] if pruned else None) for x in found if x.macs[0]]
    if not bars:
        return None
    label = f"Multiply-accumulates of {plural(len(bars), 'layer')}{', before and after' if pruned else ''}"
    return before_and_after("macs", bars, count, "MACs", label, "Multiply-accumulates of each layer, in network order.")


def latency(found: list[LayerCost], measured: Profiles, pruned: bool) -> Drawn | None:
    """Seconds by layer."""
    bars = measured.bars(found)
    if not bars:
        return None
    label = f"Latency of {plural(len(bars), 'layer')}{', before and after' if pruned else ''}"
    caption = (
        f"From onnxruntime's profile of the optimised graph: the median over runs, on this machine. Layers take "
        f"{measured.share(found):.0%} of all kernels' time in the original; an activation or norm that was fused into "
        "a layer counts as its own."
    )
    return before_and_after("latency", bars, duration, "time per run", label, caption)
