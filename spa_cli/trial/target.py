"""What a budget asks for: choosing along the order in which channels go, confirming it on the finished file."""

from __future__ import annotations

import math

from spa_cli.budget.choose import TOLERANCE, Order
from spa_cli.budget.latency import LATENCY_TOLERANCE, LatencyTable, walk_to
from spa_cli.channels.ranking import Ranking
from spa_cli.channels.selection import Selection
from spa_cli.errors import UnreachableError, UsageError
from spa_cli.request import Request
from spa_cli.runtime.timing import Timing
from spa_cli.trial.trials import Trial, Trials
from spa_cli.verification.subject import Subject

# how often a budget that only the finished file can confirm is aimed at again
_TRIES = 4
# for measuring what tidying alone leaves
_SECONDS = 1.5


class Target:
    """One budget of one model: how far along the order of channels to go for it, and whether the file then meets it.

    The coin of a budget is the unit that it is counted in: MACs, parameters, bytes, seconds, or channels.
    ``timing``: of the finished file, where latency is the budget.
    """

    def __init__(self, subject: Subject, rankings: list[Ranking], trials: Trials, request: Request) -> None:
        source, analysis, options = subject.source, subject.analysis, request.options
        self._source, self._analysis, self._trials, self._options = source, analysis, trials, options
        self.timing: Timing | None = None
        # what the estimate has to be corrected by: bytes of the file, or a fraction of the latency
        self._offset, self._tries = 0.0, 0
        if options.target_size is not None and options.target_size >= source.bytes:
            raise UsageError(
                f"--target-size {options.target_size} is no less than the {source.bytes} bytes that '{source.name}' "
                "has; ask for less"
            )
        self._table: LatencyTable | None = None
        if options.target_macs is not None and not analysis.costs.macs:
            raise UsageError(
                f"--target-macs can't be used: '{source.name}' has no operator that multiplies and adds; "
                "use --target-params"
            )
        if options.target_latency is not None:
            grouping = analysis.grouping
            if source.tidied and (left := trials.latency_left(Selection(grouping), _SECONDS)) <= options.target_latency:
                raise UnreachableError(
                    f"--target-latency {options.target_latency:g} needs no cut: --tidy alone leaves {left:.3f} of the "
                    "original, measured here; ask for less"
                )
            groups = [i for i, g in enumerate(grouping.groups) if request.constraints().allows(g)]
            macs = [analysis.costs.per_channel(i, g)[1] for i, g in enumerate(grouping.groups)]
            self._table = LatencyTable(grouping, rankings, macs, groups, trials.latency_left)

    @property
    def confirms(self) -> bool:
        """Whether only the finished file can tell that the budget is met."""
        return self._options.target_size is not None or self._options.target_latency is not None

    def start(self) -> None:
        """Aim afresh: another multiple of widths is another walk."""
        self._offset, self._tries, self.timing = 0.0, 0, None

    def prices(self) -> list[float]:
        """What one channel of each group saves in the coin of the budget."""
        options = self._options
        if self._table is not None:
            return [max(float(s), 1e-9) for s in self._table.saved]
        both = [self._analysis.costs.per_channel(i, g) for i, g in enumerate(self._analysis.grouping.groups)]
        if options.target_macs is not None:
            return [max(macs, 1) for _, macs in both]
        if options.target_params is not None or options.target_size is not None:
            return [max(params, 1) for params, _ in both]
        # a ratio of channels has no coin of its own: what is lost is weighed against all that is saved
        return [math.sqrt(max(params, 1) * max(macs, 1)) for params, macs in both]

    def choose(self, order: Order) -> Selection:
        """What stays; raises UnreachableError if the budget can't be met."""
        options, costs = self._options, self._analysis.costs
        if options.ratio is not None:
            return order.selection(order.by_ratio(options.ratio))
        if options.target_macs is not None:
            return order.selection(order.by_cost(options.target_macs, lambda s: costs.after(s)[1] / costs.macs, "macs"))
        if options.target_params is not None:
            return order.selection(
                order.by_cost(options.target_params, lambda s: costs.after(s)[0] / costs.params, "params")
            )
        if options.target_latency is not None:
            assert self._table is not None
            return walk_to(order, self._table, self._trials.latency_left, options.target_latency, self._offset)
        assert options.target_size is not None
        whole = self._source.bytes
        return order.selection(
            order.by_cost(
                options.target_size / whole, self._size_left, "size", show=lambda f: f"{round(f * whole)} bytes"
            )
        )

    def left(self, selection: Selection) -> float:
        """What a selection leaves, in the coin of the budget, relative to the original."""
        options, costs = self._options, self._analysis.costs
        if options.target_macs is not None:
            return costs.after(selection)[1] / costs.macs
        if options.target_params is not None:
            return costs.after(selection)[0] / costs.params
        if options.target_size is not None:
            return self._size_left(selection)
        return 1 - selection.removed / max(self._analysis.channels, 1)

    def _size_left(self, selection: Selection) -> float:
        weights = self._analysis.weight_bytes
        return (self._source.bytes - weights + self._analysis.costs.bytes_after(selection) + self._offset) / (
            self._source.bytes
        )

    def confirm(self, trial: Trial) -> bool:
        """Whether the finished file meets the budget; if not, the next choice aims better.

        Raises UnreachableError once aiming again does not help.
        """
        options = self._options
        self._tries += 1
        if options.tidy and self.confirms:
            self._trials.fold_norms(trial)
        if options.target_size is not None:
            size, wanted = trial.staged.bytes, options.target_size
            if wanted - TOLERANCE * self._source.bytes <= size <= wanted:
                return True
            self._offset += size - self._size_left(trial.selection) * self._source.bytes
            closest = f"{size} bytes"
        elif options.target_latency is not None:
            timing = self.timing = self._trials.latency_of(trial)
            allowed = LATENCY_TOLERANCE * options.target_latency
            # on a busy machine the medians say more about what else it does
            if min(abs(t - options.target_latency) for t in (timing.left, timing.quiet_left)) <= allowed:
                return True
            # noise, not a jump: that is seen while choosing
            self._offset += min(max(options.target_latency - timing.quiet_left, -0.1), 0.1)
            closest = f"{timing.quiet_left:.3f} of the original"
        else:
            return True
        if self._tries >= _TRIES:
            flag, asked = (
                ("--target-size", options.target_size)
                if options.target_size is not None
                else ("--target-latency", options.target_latency)
            )
            raise UnreachableError(
                f"{flag} {asked} was not confirmed on the finished model: {closest} is the closest; ask for that, "
                "or try again on a quieter machine"
            )
        return False
