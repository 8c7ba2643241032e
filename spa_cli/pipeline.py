"""The pipeline: load, analyse, score, choose, cut, verify, save. Read top to bottom."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from spa_cli.analysis import Analysis, analyse_model
from spa_cli.budget.choose import Constraints, Order, Step
from spa_cli.channels.groups import Group
from spa_cli.channels.selection import Selection
from spa_cli.errors import ModelError, UsageError, VerificationError
from spa_cli.graph.load import Source, load
from spa_cli.graph.save import Staged, check_writable, write_text
from spa_cli.importance.criteria import METHODS, score
from spa_cli.plan import Plan, from_cut, to_selection
from spa_cli.surgery.apply import cut
from spa_cli.surgery.cut import Cut
from spa_cli.surgery.values import CutError
from spa_cli.verify.check import Drift, drift, latency, verify_file, zeroing_differs
from spa_cli.verify.inputs import batch_of, read_calibration, synthetic
from spa_cli.verify.session import Feeds, checker_verdict, open_session, run

Progress = Callable[[str], None]
# zeroing what was removed needs the whole model twice in memory
_ZEROING_LIMIT = 500_000_000


@dataclass(frozen=True)
class Options:
    """What a user can ask of ``prune``; names as on the command line."""

    ratio: float | None = None
    target_macs: float | None = None
    target_params: float | None = None
    target_size: int | None = None
    method: str = "l1"
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
        budgets = {
            "--ratio": self.ratio,
            "--target-macs": self.target_macs,
            "--target-params": self.target_params,
            "--target-size": self.target_size,
        }
        given = [k for k, v in budgets.items() if v is not None]
        if len(given) != 1:
            raise UsageError(
                f"give one of {', '.join(budgets)}" + (f", not {' and '.join(given)} together" if given else "")
            )
        for name, value in budgets.items():
            if value is not None and name != "--target-size" and not 0 < value < 1:
                raise UsageError(f"{name} has to lie between 0 and 1 (both excluded), not {value:g}")
        if self.target_size is not None and self.target_size <= 0:
            raise UsageError(f"--target-size has to be a positive number of bytes, not {self.target_size}")
        if self.method not in METHODS:
            raise UsageError(f"--method {self.method} is not known; methods are {', '.join(METHODS)}")
        if not 0 < self.max_group_ratio <= 1:
            raise UsageError(f"--max-group-ratio has to lie between 0 and 1, not {self.max_group_ratio:g}")
        for name, value in (("--round-to", self.round_to), ("--min-channels", self.min_channels), ("--calib-samples", self.calib_samples)):
            if value < 1:
                raise UsageError(f"{name} has to be at least 1, not {value}")
        both = set(self.ignore) & set(self.only)
        if both:
            raise UsageError(f"'{sorted(both)[0]}' is in both --ignore and --only")

    @property
    def constraints(self) -> Constraints:
        """The part that restricts which channels may go."""
        return Constraints(
            self.ignore, self.only, self.round_to, self.min_channels, self.max_group_ratio, self.exact_only
        )


@dataclass(frozen=True)
class Figures:
    """One side of the before/after table; ``seconds`` is ``None`` where latency was not measured."""

    channels: int
    params: int
    macs: int
    bytes: int
    seconds: float | None


@dataclass(frozen=True)
class Result:
    """What pruning did. ``model`` is the small model (also written to ``out`` if that was given)."""

    source: Source
    analysis: Analysis
    plan: Plan
    before: Figures
    after: Figures
    drift: Drift
    cut_groups: list[tuple[Group, int]]
    warnings: list[str]
    out: Path | None
    model: onnx.ModelProto

    @property
    def rf(self) -> float:
        """MACs before / after (the paper's RF)."""
        return self.before.macs / max(self.after.macs, 1)

    @property
    def rp(self) -> float:
        """Parameters before / after (the paper's RP)."""
        return self.before.params / max(self.after.params, 1)


def prune(
    model: str | os.PathLike[str] | onnx.ModelProto,
    options: Options,
    out: Path | None = None,
    *,
    force: bool = False,
    plan_out: Path | None = None,
    dry_run: bool = False,
    progress: Progress = lambda _: None,
) -> Result:
    """Prune ``model``; see the module for the steps, ``errors`` for what is raised."""
    progress("reading the model")
    source = load(model)
    for target in (out, plan_out):
        if target is not None:
            check_writable(target, source.path, force)
    work = _Job(source, options, None if dry_run else out, progress)
    order = work.order()
    selection = work.choose(order)
    while True:
        progress("cutting and verifying")
        made, problem = work.attempt(selection)
        if made is not None:
            break
        selection = work.choose(work.without_culprits(selection, problem))
    return work.finish(made, plan_out, dry_run)


def apply(
    plan: Plan | Path,
    model: str | os.PathLike[str] | onnx.ModelProto,
    out: Path | None = None,
    *,
    force: bool = False,
    input_shape: dict[str, tuple[int, ...]] | None = None,
    progress: Progress = lambda _: None,
) -> Result:
    """Carry out a plan on the model it was made for, or on a retrained one."""
    plan = plan if isinstance(plan, Plan) else Plan.read(plan)
    progress("reading the model")
    source = load(model)
    if out is not None:
        check_writable(out, source.path, force)
    shapes = input_shape or {n: tuple(s) for n, s in plan.about.get("input_shapes", {}).items()}
    work = _Job(source, Options(ratio=0.5, input_shape=shapes), out, progress)
    work.about = {**plan.about}
    analysis = work.analysis
    known = analysis.graph.parameters
    selection = to_selection(
        plan, analysis.grouping, analysis.state.ids.count, lambda n: tuple(known[n].dims) if n in known else None
    )
    progress("cutting and verifying")
    made, problem = work.attempt(selection)
    if made is None:
        raise VerificationError(f"the plan can't be carried out on '{source.name}': {problem}")
    return work.finish(made, None, False)


@dataclass
class _Made:
    """A cut that passed verification, staged on disk."""

    work: Cut
    selection: Selection
    staged: Staged
    outputs: list[Any]


class _Job:
    """State of one pruning run: the analysis, the feeds, what the original gives, what has been ruled out."""

    def __init__(self, source: Source, options: Options, out: Path | None, progress: Progress) -> None:
        self.source, self.options, self._out, self._progress = source, options, out, progress
        self.warnings = list(source.warnings)
        progress("finding which channels depend on each other")
        self.analysis = analyse_model(source, options.input_shape)
        self._feeds, self._reference = self._run_original()
        self._checked = (checker_verdict(source, True) is None, checker_verdict(source, False) is None)
        self._excluded: set[int] = set()
        self.about: dict[str, Any] = {}

    # -- choosing ---------------------------------------------------------------------------------------------------

    def order(self) -> Order:
        """The order in which channels go, without groups that were ruled out."""
        analysis, options = self.analysis, self.options
        if not analysis.grouping.groups:
            raise ModelError(f"nothing in '{self.source.name}' can be pruned: {_main_reason(analysis)}")
        self._progress("scoring channels")
        scores = score(analysis.graph, analysis.grouping, options.method, options.seed)
        order = Order(
            analysis.grouping, scores, options.constraints, analysis.state.ids.count, set(analysis.graph.weights()), self._excluded
        )
        if not order.steps:
            raise ModelError(
                f"nothing in '{self.source.name}' can be pruned under these constraints; 'spa inspect' lists the groups"
            )
        return order

    def choose(self, order: Order) -> Selection:
        """What stays under the budget."""
        options, costs = self.options, self.analysis.costs
        if options.ratio is not None:
            steps: Iterable[Step] = order.by_ratio(options.ratio)
        elif options.target_macs is not None:
            if not costs.macs:
                raise UsageError("--target-macs can't be used: the model has no operator that multiplies and accumulates")
            steps = order.by_cost(options.target_macs, lambda s: costs.after(s)[1] / costs.macs, "macs")
        elif options.target_params is not None:
            steps = order.by_cost(options.target_params, lambda s: costs.after(s)[0] / costs.params, "params")
        else:
            assert options.target_size is not None
            steps = order.by_cost(options.target_size / self.source.bytes, self._size_left, "size")
        return order.selection(list(steps))

    def _size_left(self, selection: Selection) -> float:
        analysis = self.analysis
        weight_bytes = analysis.weight_bytes
        left = analysis.costs.after(selection)[0] / max(analysis.costs.params, 1)
        return (self.source.bytes - weight_bytes + left * weight_bytes) / self.source.bytes

    # -- cutting and verifying --------------------------------------------------------------------------------------

    def attempt(self, selection: Selection) -> tuple[_Made | None, str]:
        """Cut, stage and verify; ``(None, why)`` if it does not survive."""
        analysis = self.analysis
        try:
            work = cut(analysis.graph, analysis.state, analysis.grouping, selection, self._note(selection))
            differs = self._zeroing(work, selection)
        except (CutError, ValueError, IndexError) as error:
            return None, str(error)
        if differs is not None:
            return None, differs
        name, beside = (self._out.name, self._out.parent) if self._out else ("pruned.onnx", None)
        staged = Staged(work.model, name, self.source.folder, beside, self.source.external)
        try:
            outputs = verify_file(str(staged.path), self.source.model, self._checked, self._reference, self._feeds)
        except VerificationError as error:
            staged.discard()
            return None, str(error)
        return _Made(work, selection, staged, outputs), ""

    def _zeroing(self, work: Cut, selection: Selection) -> str | None:
        analysis = self.analysis
        if self.source.bytes > _ZEROING_LIMIT or self.source.external:
            return None
        inexact = [i for i in selection.kept if not analysis.grouping.groups[i].exact]
        exact = selection.copy_without(inexact)
        if not exact.kept:
            return None
        if inexact:
            work = cut(analysis.graph, analysis.state, analysis.grouping, exact, {})
        return zeroing_differs(analysis.graph, work, self._feeds)

    def without_culprits(self, selection: Selection, problem: str) -> Order:
        """Find the groups whose cut does not survive, rule them out, warn, and give the order of what is left."""
        suspects = sorted(selection.kept)
        while len(suspects) > 1:
            half = suspects[: len(suspects) // 2]
            rest = suspects[len(suspects) // 2 :]
            for part in (half, rest):
                made, why = self.attempt(selection.copy_without(set(selection.kept) - set(part)))
                if made is None:
                    suspects, problem = part, why
                    break
                made.staged.discard()
            else:
                break  # only together do they fail
        for index in suspects:
            group = self.analysis.grouping.groups[index]
            self.warnings.append(f"group '{group.name}' was left whole: {problem}")
        self._excluded.update(suspects)
        return self.order()

    def _run_original(self) -> tuple[Feeds, list[Any]]:
        """Feeds the original model runs on, and what it gives."""
        self._progress("running the original")
        analysis, options = self.analysis, self.options
        try:
            session = open_session(self.source)
        except Exception as error:
            raise ModelError(f"onnxruntime can't load '{self.source.name}': {str(error).splitlines()[0][:200]}") from error
        if options.calib is not None:
            feeds = batch_of(read_calibration(options.calib, analysis.graph, options.calib_samples), analysis.graph, 8)
            tries: list[Feeds] = [feeds]
        else:
            tries = [synthetic(analysis.graph, s) for s in (analysis.input_shapes, *analysis.other_shapes)]
        failure = ""
        for feeds in tries:
            try:
                return feeds, run(session, feeds)
            except Exception as error:  # noqa: BLE001 - onnxruntime's kinds are its own
                failure = failure or str(error).splitlines()[0][:200]
        raise VerificationError(
            f"'{self.source.name}' does not run on {'the calibration data' if options.calib else 'synthetic inputs'} "
            f"({failure}); give --input-shape or --calib"
        )

    # -- finishing --------------------------------------------------------------------------------------------------

    def _note(self, selection: Selection) -> dict[str, object]:
        from spa_cli import __version__

        analysis = self.analysis
        return {
            "version": __version__,
            "method": self.about.get("method", self.options.method),
            "removed_channels": _removed(selection),
            "channels": analysis.channels,
        }

    def finish(self, made: _Made, plan_out: Path | None, dry_run: bool) -> Result:
        """Measure, write what was asked for, and report."""
        analysis, options = self.analysis, self.options
        self._progress("measuring latency")
        original: str | onnx.ModelProto = str(self.source.path) if self.source.path and not self.source.model.functions else self.source.model
        seconds: tuple[float | None, float | None] = (None, None)
        try:
            seconds = latency(original, str(made.staged.path), self._feeds)
        except Exception as error:  # noqa: BLE001 - verified models run unoptimised; the optimiser may still stumble
            self.warnings.append(f"latency could not be measured: {str(error).splitlines()[0][:120]}")
        params, macs = analysis.costs.after(made.selection)
        removed = _removed(made.selection)
        about = self.about or {
            "model": self.source.name,
            "digest": self.source.digest(),
            "method": options.method,
            "seed": options.seed,
            "input_shapes": {n: list(s) for n, s in analysis.input_shapes.items()},
        }
        plan = from_cut(made.work, {**about, "groups": {g.name: int(m.shape[-1] - m.reshape(-1, m.shape[-1])[0].sum()) for g, m in made.selection.groups()}})
        result = Result(
            source=self.source,
            analysis=analysis,
            plan=plan,
            before=Figures(analysis.channels, analysis.costs.params, analysis.costs.macs, self.source.bytes, seconds[0]),
            after=Figures(analysis.channels - removed, params, macs, made.staged.bytes, seconds[1]),
            drift=drift(self._reference, made.outputs),
            cut_groups=[(g, int(m.reshape(-1, m.shape[-1])[0].sum())) for g, m in made.selection.groups()],
            warnings=self.warnings,
            out=self._out,
            model=made.work.model,
        )
        if plan_out is not None and not dry_run:
            write_text(plan_out, plan.to_json())
        if self._out is not None:
            made.staged.publish(self._out)
        else:
            made.staged.discard()
        return result


def _removed(selection: Selection) -> int:
    return sum(int((~m.reshape(-1, m.shape[-1])[0]).sum()) for _, m in selection.groups())


def _main_reason(analysis: Analysis) -> str:
    if not analysis.graph.weights():
        return "it has no weights"
    reasons = [f.reason.text for f in analysis.grouping.frozen if f.reason.text != "has a single channel"]
    if not reasons:
        return "every axis has a single channel"
    text, count = max(((r, reasons.count(r)) for r in set(reasons)), key=lambda x: (x[1], x[0]))
    return f"{count} of {len(reasons)} weight axes: {text}"
