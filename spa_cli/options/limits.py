"""The gates of ``verify``, one option each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spa_cli.errors import OptionError
from spa_cli.options import words
from spa_cli.options.declare import GATES, option, read_all

# of anything that is counted
MOST = 2**31 - 1


@dataclass(frozen=True)
class Limits:
    """Gates by option; ``max_size``: bytes, or a fraction of the original ("60%"). Raises UsageError out of range."""

    max_drift: float | None = option(None, "Fail above this relative L2 drift.", GATES)
    min_agreement: float | None = option(
        None, "Fail below this agreement, in the measure that fits the outputs (see --as).", GATES
    )
    max_perplexity_ratio: float | None = option(
        None, "Fail above this perplexity of a language model, relative to the original's.", GATES
    )
    min_accuracy: float | None = option(None, "Fail below this accuracy (labels in --calib, or --eval).", GATES)
    max_size: str | int | None = option(None, "Fail above this file size: 500kB, 1.5MB, or 60% of the original.", GATES)
    max_latency_ratio: float | None = option(
        None, "Fail above this fraction of the original's latency, measured here side by side.", GATES
    )

    def __post_init__(self) -> None:
        read_all(self)
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise OptionError(f"--min-agreement has to lie between 0 and 1, not {self.min_agreement:g}")
        if self.max_perplexity_ratio is not None and not 1 <= self.max_perplexity_ratio < math.inf:
            raise OptionError(
                f"--max-perplexity-ratio has to be at least 1 (1.1 allows a tenth more), not "
                f"{self.max_perplexity_ratio:g}"
            )
        if self.min_accuracy is not None and not 0 < self.min_accuracy < math.inf:
            raise OptionError(f"--min-accuracy has to be a positive number, not {self.min_accuracy:g}")
        if self.max_drift is not None and not self.max_drift >= 0:
            raise OptionError(f"--max-drift has to be at least 0, not {self.max_drift:g}")
        if self.max_latency_ratio is not None and not 0 < self.max_latency_ratio < math.inf:
            raise OptionError(f"--max-latency-ratio has to be a positive number, not {self.max_latency_ratio:g}")
        if self.max_size is not None:
            bytes_of(self.max_size, 1, "--max-size ")


def check_count(flag: str, value: int) -> None:
    """Raises OptionError for a number of things that is none, or more than native code can count."""
    if value < 1:
        raise OptionError(f"{flag} has to be at least 1, not {value}")
    if value > MOST:
        raise OptionError(f"{flag} has to be at most {MOST}, not {value}")


def bytes_of(text: str | int, original: int, option: str = "") -> int:
    """A size (``words.in_bytes``), or ``60%`` of the original, as bytes; raises OptionError, which names the option."""
    given = str(text).strip()
    if given.endswith("%"):
        found = words.in_percent(given)
        value = None if found is None else int(found * original)
    else:
        value = words.in_bytes(given)
    if value is None:
        raise OptionError(
            f"{option}'{text}' is no file size; write bytes, a size like 500kB or 1.5MB, or a part like 60%"
        )
    return value
