"""Comparing a model with its pruned version: what ``spa verify`` reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spa_cli.analysis import Analysis, analyse_model
from spa_cli.calibration.chunks import Calibration, samples_in
from spa_cli.calibration.judging import made_up
from spa_cli.calibration.read import read_samples
from spa_cli.calibration.reading import Reading
from spa_cli.calibration.samples import JUDGES, Samples
from spa_cli.calibration.split import whole
from spa_cli.errors import OptionError, UsageError, VerificationError
from spa_cli.graph.source import Source
from spa_cli.graph.states import narrowed_shapes, noted
from spa_cli.measures.panel import Panel
from spa_cli.measures.perplexity import require_tokens
from spa_cli.options import Options
from spa_cli.options.declare import declared
from spa_cli.options.limits import check_count
from spa_cli.plan import Plan
from spa_cli.progress import stage
from spa_cli.runtime.first_run import first_run
from spa_cli.runtime.load import Model, load
from spa_cli.runtime.providers import named, running_on
from spa_cli.runtime.session import open_session, passes_checker, run
from spa_cli.runtime.timed import ALONE, Timed, timed_as
from spa_cli.runtime.timing import Timing, latency
from spa_cli.runtime.widened import widened
from spa_cli.shown import Shown
from spa_cli.text import count, drift_text, plural, size
from spa_cli.tidy.steps import UNASKED, tidied
from spa_cli.verification.accuracy import Accuracy, by_command
from spa_cli.verification.carried import carried_out
from spa_cli.verification.check import verify_file, zeroing_differs
from spa_cli.verification.drift import NOTHING_COMPARED, Drift
from spa_cli.verification.gates import Gate, Limits, check
from spa_cli.verification.judge import judge, labels_of
from spa_cli.verification.structure import Structure
from spa_cli.verification.subject import Subject

# the most that is taken of what need not end
_MOST = 50_000


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """``drift`` is that of all ``samples``, latency that of as many as ``timed`` says, on as many threads.

    ``zeroing``: with a plan, "equal" or how the plan's cut differs from zeroing what it removes. ``gates``: those that
    were asked for. ``accuracy``: where labels lie beside the samples, or ``evaluate`` was given. ``not_verified``: what
    was not, because the models were not run; then there is no timing, and the drift is not a number.
    """

    drift: Drift
    bytes: tuple[int, int]
    params: tuple[int, int]
    macs: tuple[int, int]
    timing: Timing | None
    samples: str
    zeroing: str | None
    gates: tuple[Gate, ...] = ()
    accuracy: Accuracy | None = None
    not_verified: tuple[str, ...] = ()
    timed: Timed = ALONE

    @property
    def line(self) -> str:
        """Gates, drift and what is left."""
        kept = sum(g.passed for g in self.gates)
        gates = f"{kept} of {len(self.gates)} gates passed, " if self.gates else ""
        moved = "not run" if self.not_verified else f"drift {drift_text(self.drift.relative_l2)}"
        left = f", {self.timing.left:.2f} of the latency" if self.timing else ""
        sizes = f"{size(self.bytes[0])} -> {size(self.bytes[1])}"
        return f"{gates}{moved}, {sizes}, MACs {count(self.macs[0])} -> {count(self.macs[1])}{left}"

    @property
    def passed(self) -> bool:
        """Whether every gate lets the pruned model through."""
        return all(g.passed for g in self.gates)


def compare(
    model: Model,
    pruned: Model,
    plan: Path | None,
    options: Options,
    limits: Limits = Limits(),
    count: int | None = None,
) -> Comparison:
    """Run both models side by side; raises VerificationError if the second can't take the first one's place.

    ``options``: what they are run on, and how that is read; without ``run`` only their structure is compared, and what
    onnxruntime can run of them. ``count``: of how many samples, spread over those given.
    """
    named(options.provider)
    if count is not None:
        check_count("--samples", count)
    if not options.run:
        _check_limits(limits, count)
    stage("reading the models")
    before, after = load(model), load(pruned)
    read = None if plan is None else Plan.read(plan)
    if not options.run:
        return _by_structure(before, after, read, options.input_shape, limits)
    if read is not None and read.tidy:
        before = tidied(before, read.tidy)
    stage("finding which channels depend on each other")
    given = None
    if options.calib is not None:
        given = read_samples(options.calib, before.graph, Reading.of(options), count or _MOST)
    _check_accuracy(options, limits, given)
    shrinking = None if read is None else read.shrinking
    analysis = analyse_model(before, options.input_shape, given.shapes if given else {}, shrinking)
    samples = _synthetic(before, analysis, count) if given is None else whole(analysis, given, count)
    stage("running the original")
    known, first = analysis.state.shapes, samples.chunks[0] if samples else None
    feeds, reference = first_run(before, analysis.graph, known, analysis.shapes_to_try, first, seed=1)
    samples = samples or Calibration([feeds], plural(samples_in(feeds), "synthetic sample"))
    states = noted(after.model, before.model)
    fitting = widened(after, states)
    with timed_as(options.batch, options.threads):
        timed = Subject(before, analysis, feeds, reference, samples).timed
    panel = Panel.of(analysis.graph, analysis.state.shapes, feeds, reference, options.judge_as)
    panel = panel.but([state.output for state in states])
    if limits.max_perplexity_ratio is not None:
        require_tokens(panel)
    checked = passes_checker(before)
    stage("checking and running the pruned model")
    with _in_place_of(before, after):
        verify_file(fitting, before.model, checked, reference, feeds, free=analysis.free_sizes())
    stage("comparing outputs")
    dense, thin = (open_session(m, large=before.external) for m in (before, fitting))
    moved, accuracy = judge(dense, thin, samples, panel, labels_of(given, must=False))
    if options.evaluate is not None:
        stage("asking --eval")
        accuracy = by_command(options.evaluate, before, after)
    if limits.min_accuracy is not None and accuracy is None:
        raise _unlabelled()
    small = analyse_model(after, narrowed_shapes(analysis.input_shapes, states))
    zeroing = None
    if read is not None:
        stage("comparing with zeroing")
        work = carried_out(read, before, after, analysis)
        zeroing = zeroing_differs(analysis.graph, work, feeds, after) or "equal"
        if zeroing != "equal" and read.about.get("repair"):
            zeroing += ", as it should: what stays was repaired to give what the original gives"
    stage("measuring latency")
    with running_on(options.provider), timed_as(options.batch, options.threads):
        timing = latency(before, fitting, timed)
    sizes = (before.bytes, after.bytes)
    return Comparison(
        drift=moved,
        bytes=sizes,
        params=(analysis.costs.params, small.costs.params),
        macs=(analysis.costs.macs, small.costs.macs),
        timing=timing,
        timed=Timed(samples_in(timed), options.threads),
        samples=samples.about,
        zeroing=zeroing,
        gates=check(limits, moved, sizes, timing, accuracy),
        accuracy=accuracy,
    )


@contextmanager
def _in_place_of(before: Source, after: Source) -> Iterator[None]:
    try:
        yield
    except VerificationError as error:
        raise VerificationError(
            f"'{after.name}' can't take the place of '{before.name}': {error}; prune this model again, or name the one "
            "that was pruned"
        ) from error


def _check_limits(limits: Limits, count: int | None) -> None:
    """Raises UsageError for what looks at what a model gives, or how fast."""
    asked = [n for one, _ in declared(Limits) if getattr(limits, n := one.name) is not None and n != "max_size"]
    for name in (*asked, *(["samples"] if count is not None else [])):
        flag = name.replace("_", "-")
        raise OptionError(f"--no-run can't be used with --{flag}, for which both models are run; leave one out")


def _by_structure(
    before: Source, after: Source, plan: Plan | None, input_shape: dict[str, tuple[int, ...]], limits: Limits
) -> Comparison:
    if plan is not None and {*plan.tidy} - {UNASKED}:
        raise UsageError("the plan is of a tidied model, which is compared by running both; leave out --no-run")
    if plan is not None and plan.tidy:
        before = tidied(before, plan.tidy)
    stage("finding which channels depend on each other")
    analysis, small = analyse_model(before, input_shape), analyse_model(after, input_shape)
    structure = Structure(before, analysis)
    stage("comparing structures")
    work = None if plan is None else carried_out(plan, before, after, analysis)
    with _in_place_of(before, after):
        structure.verify(after, work, small.graph)
    zeroing = None
    if work is not None and structure.runs:
        zeroing = structure.zeroing_differs(work, small.graph.in_memory()) or "equal"
    sizes = (before.bytes, after.bytes)
    return Comparison(
        drift=NOTHING_COMPARED,
        bytes=sizes,
        params=(analysis.costs.params, small.costs.params),
        macs=(analysis.costs.macs, small.costs.macs),
        timing=None,
        samples="",
        zeroing=zeroing,
        gates=check(limits, NOTHING_COMPARED, sizes, None),
        not_verified=tuple(structure.not_verified(work is not None)),
    )


def _synthetic(source: Source, analysis: Analysis, count: int | None) -> Calibration | None:
    """Samples like those that a model is pruned on without data; ``None`` if it does not run on them."""
    try:
        made = made_up(analysis, seed=1, wanted=count or JUDGES)
        run(open_session(source, large=source.external), made.chunks[0])
    except Exception:  # noqa: BLE001 - onnxruntime's kinds are its own; other inputs are tried then
        return None
    return made


def _check_accuracy(options: Options, limits: Limits, given: Samples | None) -> None:
    """Raises UsageError, before any work, where accuracy is asked for and can't be measured."""
    found = labels_of(given, limits.min_accuracy is not None and options.evaluate is None)
    if limits.min_accuracy is not None and options.evaluate is None and found is None:
        raise _unlabelled()


def _unlabelled() -> UsageError:
    return OptionError(
        "--min-accuracy can't be measured without labels that fit an output; give an array 'labels' in --calib, class "
        "indices or one-hot, or --eval 'command {model}' that prints a number"
    )
