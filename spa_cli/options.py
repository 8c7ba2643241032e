"""What a user can ask of ``prune``, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from spa_cli.budget.choose import Constraints
from spa_cli.errors import UsageError
from spa_cli.importance.criteria import METHODS as NORMS

METHODS = ("obspa", *NORMS)


@dataclass(frozen=True)
class Options:
    """Names as on the command line; raises UsageError where they are out of range or contradict each other."""

    ratio: float | None = None
    target_macs: float | None = None
    target_params: float | None = None
    target_size: int | None = None
    target_latency: float | None = None
    method: str = "obspa"
    calib: Path | None = None
    calib_samples: int = 512
    seed: int = 0
    ignore: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    round_to: int = 1
    min_channels: int = 1
    max_group_ratio: float = 1.0
    exact_only: bool = False
    input_shape: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_budget()
        if self.method not in METHODS:
            raise UsageError(f"--method {self.method} is not known; methods are {', '.join(METHODS)}")
        if not 0 < self.max_group_ratio <= 1:
            raise UsageError(f"--max-group-ratio has to lie between 0 and 1, not {self.max_group_ratio:g}")
        for name in ("round_to", "min_channels", "calib_samples"):
            if getattr(self, name) < 1:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} has to be at least 1, not {getattr(self, name)}")
        both = set(self.ignore) & set(self.only)
        if both:
            raise UsageError(f"'{sorted(both)[0]}' is in both --ignore and --only")

    def _check_budget(self) -> None:
        budgets = {
            "--ratio": self.ratio,
            "--target-macs": self.target_macs,
            "--target-params": self.target_params,
            "--target-size": self.target_size,
            "--target-latency": self.target_latency,
        }
        given = {k: v for k, v in budgets.items() if v is not None}
        if len(given) != 1:
            together = f", not {' and '.join(given)} together" if given else ""
            raise UsageError(f"give one of {', '.join(budgets)}{together}")
        ((name, value),) = given.items()
        if name == "--target-size":
            if value <= 0:
                raise UsageError(f"--target-size has to be a positive number of bytes, not {value}")
        elif not 0 < value < 1:
            raise UsageError(f"{name} has to lie between 0 and 1 (both excluded), not {value:g}")

    @property
    def constraints(self) -> Constraints:
        """The part that restricts which channels may go."""
        return Constraints(
            self.ignore, self.only, self.round_to, self.min_channels, self.max_group_ratio, self.exact_only
        )
