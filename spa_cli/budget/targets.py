"""What a budget asks for, in terms of the order in which channels go."""

from __future__ import annotations

from spa_cli.analysis import Analysis
from spa_cli.attempt import Attempts
from spa_cli.budget.choose import Order
from spa_cli.channels.selection import Selection
from spa_cli.errors import ModelError, UsageError
from spa_cli.graph.load import Source
from spa_cli.options import Options


def choose(
    source: Source,
    analysis: Analysis,
    options: Options,
    attempts: Attempts,
    order: Order,
    left_whole: dict[int, str],
) -> Selection:
    """What stays under the budget; raises UnreachableError if it can't be met.

    ``left_whole``: groups that were tried and did not survive, and why.
    """
    costs = analysis.costs
    if not order.steps and left_whole:
        index, why = next(iter(left_whole.items()))
        name = analysis.grouping.groups[index].name
        raise ModelError(
            f"nothing in '{source.name}' can be pruned: no cut of its groups survived verification ('{name}': {why})"
        )
    if not order.steps:
        raise ModelError(
            f"nothing in '{source.name}' can be pruned under these constraints; 'spa inspect' lists the groups"
        )
    if options.ratio is not None:
        return order.selection(order.by_ratio(options.ratio))
    if options.target_macs is not None:
        if not costs.macs:
            raise UsageError(f"--target-macs can't be used: '{source.name}' has no operator that multiplies and adds")
        return order.selection(order.by_cost(options.target_macs, lambda s: costs.after(s)[1] / costs.macs, "macs"))
    if options.target_params is not None:
        return order.selection(
            order.by_cost(options.target_params, lambda s: costs.after(s)[0] / costs.params, "params")
        )
    if options.target_latency is not None:
        return order.selection(
            order.by_cost(options.target_latency, attempts.latency_left, "latency", 0.05, exchanges=0)
        )
    assert options.target_size is not None

    def size_left(selection: Selection) -> float:
        weights = analysis.weight_bytes
        return 1 - weights / source.bytes * (1 - costs.after(selection)[0] / max(costs.params, 1))

    return order.selection(order.by_cost(options.target_size / source.bytes, size_left, "size"))
