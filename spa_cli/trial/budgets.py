"""The budgets of size and speed in numbers: what may be left in each coin, and what to say where less can't be."""

from __future__ import annotations

import math
from collections.abc import Mapping

from spa_cli.budget.bill import BYTES, CHANNELS, MACS, PARAMS, SECONDS
from spa_cli.budget.menu import Menu
from spa_cli.budget.moves import EXACT
from spa_cli.budget.solve import Solver
from spa_cli.errors import OptionError, UnreachableError
from spa_cli.operators.rewrite import entry_of
from spa_cli.request import Request
from spa_cli.trial.trials import note_of
from spa_cli.verification.subject import Subject

# bytes of what says where fields of a file end: only the file itself tells
_FIELDS = 16
_COINS = {"ratio": CHANNELS, "target_macs": MACS, "target_params": PARAMS, "target_latency": SECONDS}


class Budgets:
    """Those of one model. The coin of a budget is the unit that it is counted in.

    What is learnt on the way: ``other_bytes`` of the file that the weights don't explain, at first its note; of the
    latency, how much of what was predicted to be saved is ``seen``, and what ``tidied`` alone leaves, which is no merit
    of widths.
    ``size``: bytes that the file may have, ``None`` where that is no limit.
    Raises OptionError for budgets that this model has nothing of.
    """

    def __init__(self, subject: Subject, request: Request) -> None:
        self._source, self._analysis = subject.source, subject.analysis
        self._options, self._elsewhere = request.options, request.elsewhere
        self.seen, self.tidied = 1.0, 1.0
        note = note_of(self._options.method, self._analysis.channels, self._analysis)
        self.other_bytes = float(entry_of(self._source.model, note).ByteSize() + _FIELDS)
        size = self._options.target_bytes(self._source.bytes)
        idle = size is not None and size >= self._source.bytes
        # beside another budget it says nothing
        self.size = None if idle else size
        if idle and len(self._options.budgets) == 1:
            raise OptionError(
                f"--target-size {size} is no less than the {self._source.bytes} bytes that '{self._source.name}' has; "
                "ask for less"
            )
        if self._options.target_macs is not None and not self._analysis.costs.macs:
            raise OptionError(
                f"--target-macs can't be used: '{self._source.name}' has no operator that multiplies and adds; "
                "use --target-params"
            )

    def fractions(self, menu: Menu) -> dict[str, float]:
        """What may be left, as fractions of the original, by coin."""
        options, found = self._options, dict[str, float]()
        if options.ratio is not None:
            # at least one; what is exempt is no part of the whole
            wanted = max(1, round(options.ratio * menu.total))
            found[CHANNELS] = 1 - wanted / self._analysis.channels
        for name in ("target_macs", "target_params"):
            if (asked := getattr(options, name)) is not None:
                found[_COINS[name]] = asked
        if options.target_latency is not None:
            found[SECONDS] = 1 - (1 - options.target_latency / self.tidied) / self.seen
        if self.size is not None:
            whole = self._analysis.weight_bytes
            found[BYTES] = (self.size - (self._source.bytes - whole) - self.other_bytes) / whole
        return found

    def check(self, solver: Solver, budgets: Mapping[str, float]) -> None:
        """Raises UnreachableError where even as little as can be left is more than one of them."""
        left = {coin: solver.left(coin, solver.most()) for coin in budgets}
        over = {coin: left[coin] - most for coin, most in budgets.items() if left[coin] > most + EXACT}
        if over:
            coin = max(over, key=over.__getitem__)
            raise UnreachableError(
                f"{self.flag(coin)} can't be reached: {self.shown(coin, left[coin], solver.menu)} is the least that "
                "can be left under these constraints; ask for that or loosen them"
            )

    def flag(self, coin: str) -> str:
        """An option as it was given."""
        options = self._options
        if coin == BYTES:
            return f"--target-size {options.target_size}"
        name = next(n for n, c in _COINS.items() if c == coin)
        return f"--{name.replace('_', '-')} {getattr(options, name):g}"

    def shown(self, coin: str, left: float, menu: Menu) -> str:
        """What is left, in the words of the option, and so that the option can ask for it: never less than there is."""
        if coin == CHANNELS:
            gone = (1 - left) * self._analysis.channels / max(menu.total, 1)
            return f"{math.floor(1000 * gone + EXACT) / 1000:.3f} of the {menu.total} removable channels removed"
        if coin == BYTES:
            whole = self._analysis.weight_bytes
            return f"{math.ceil(self._source.bytes - whole + left * whole + self.other_bytes)} bytes"
        if coin == SECONDS:
            left = (1 - (1 - left) * self.seen) * self.tidied
            if self._elsewhere:
                return f"{left:.3f} of the original, predicted for '{self._options.device}', not measured"
        return f"{math.ceil(1000 * left - EXACT) / 1000:.3f} of the original"
