"""The smallest model that still is good enough: bisection over what it may cost."""

from __future__ import annotations

from spa_cli.cutting import Cutting, cut_to
from spa_cli.errors import UnreachableError
from spa_cli.options import Options
from spa_cli.prepare import Prepared, Progress
from spa_cli.quality import Measured, Quality

# how near the last size that passed and the first that failed have to come, as fractions of the original
_NEAR = 0.02


def smallest(prepared: Prepared, options: Options, progress: Progress) -> Cutting:
    """The cut with the fewest MACs (parameters, where nothing multiplies) that keeps the quality asked for.

    Raises UnreachableError if even the least cut does not, with the quality of what was nearest.
    """
    quality = Quality(prepared.subject, options)
    coin = "target_macs" if prepared.subject.analysis.costs.macs else "target_params"
    low, high = 0.0, 1.0
    best: Cutting | None = None
    nearest: tuple[float, Measured] | None = None
    while high - low > _NEAR:
        middle = (low + high) / 2
        progress(f"trying {middle:.0%} of the {coin.removeprefix('target_')}")
        try:
            cutting = cut_to(prepared, options.with_budget(coin, middle), progress)
        except UnreachableError:
            low = middle
            continue
        measured = quality.of(cutting.made.staged.path)
        if passes(measured, options):
            if best is not None:
                best.made.staged.discard()
            best, high = cutting, middle
        else:
            cutting.made.staged.discard()
            low, nearest = middle, (middle, measured)
    if best is None:
        raise UnreachableError(_refusal(options, nearest, quality))
    return best


def passes(measured: Measured, options: Options) -> bool:
    """Whether a model is good enough."""
    if options.max_drift is not None:
        return measured.drift.relative_l2 <= options.max_drift
    assert options.min_accuracy is not None
    return (measured.accuracy or 0.0) >= options.min_accuracy


def _refusal(options: Options, nearest: tuple[float, Measured] | None, quality: Quality) -> str:
    asked = (
        f"--max-drift {options.max_drift:g}"
        if options.max_drift is not None
        else f"--min-accuracy {options.min_accuracy:g}"
    )
    if nearest is None:
        return f"{asked} can't be kept: no cut could be made under these constraints; loosen them"
    at, measured = nearest
    found = (
        f"drift is {measured.drift.relative_l2:.3g}"
        if options.max_drift is not None
        else f"accuracy is {measured.accuracy:.4g}"
    )
    original = quality.of_original().accuracy
    dense = f" (the original's is {original:.4g})" if options.min_accuracy is not None and original is not None else ""
    return f"{asked} can't be kept: {found}{dense} at {at:.0%} of the original on {quality.about}; ask for less"
