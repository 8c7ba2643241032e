"""The pipeline: load, analyse, score, choose, cut, repair, verify, save."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from spa_cli.analysis import analyse_model
from spa_cli.calibration.judging import made_up, or_feeds
from spa_cli.checkpoints import working_in
from spa_cli.engines import HERE, Asked
from spa_cli.engines.pool import spreading
from spa_cli.errors import CutError, OptionError, UsageError, VerificationError
from spa_cli.files import Files
from spa_cli.fingerprint import repeatable
from spa_cli.finish import dearest, measure, provenance, require, warnings_of
from spa_cli.graph.source import Source
from spa_cli.importance.registry import DATA
from spa_cli.memory import allowing
from spa_cli.options import Options
from spa_cli.options.tune import DEFAULT, Training
from spa_cli.plan import Plan, to_selection
from spa_cli.progress import stage
from spa_cli.request import Request
from spa_cli.result import Result
from spa_cli.runtime.explained import explained
from spa_cli.runtime.first_run import first_run
from spa_cli.runtime.load import Model, load
from spa_cli.runtime.providers import running_on
from spa_cli.runtime.timed import timed_as
from spa_cli.surgery.cut import Cut
from spa_cli.tidy.steps import LAST, UNASKED, tidied
from spa_cli.trial.choose import Choice, check_reach
from spa_cli.trial.orders import cut_by_budget, finished
from spa_cli.trial.prepare import Ranked, analyse, score
from spa_cli.trial.rounds import in_rounds
from spa_cli.trial.search import choose_by_quality
from spa_cli.trial.tidying import differs
from spa_cli.trial.trials import Trial, Trials
from spa_cli.tuning.after import train_trial
from spa_cli.tuning.pair import Pair, check_trainable
from spa_cli.tuning.result import TuneResult
from spa_cli.tuning.train import Point
from spa_cli.tuning.tune import tuned
from spa_cli.tuning.written import written
from spa_cli.verification.carried import carried_out
from spa_cli.verification.subject import Subject


def prune(
    model: Model,
    options: Options,
    files: Files = Files(),
    *,
    dry_run: bool = False,
    of_many: bool = False,
    engine: str = HERE,
) -> Result:
    """Prune ``model``: the steps of the design, in order. Raises the errors of ``spa_cli.errors``.

    ``files``: what is written; nothing is in a ``dry_run``. ``of_many``: other models get the same options, so a name
    among them need not be of this one. ``engine``: where what is measured on samples is done.
    """
    request, asked = Request.of(options), Asked.of(engine)
    if asked.spread and not (request.repairs or any(p.criterion.needs == DATA for p in request.recipe.parts)):
        raise OptionError(
            f"--engine {engine} spreads what is measured of a model on samples, which --method {options.method} does "
            "not look at; leave it out"
        )
    with running_on(options.provider), timed_as(options.batch, options.threads), allowing(options.memory_size):
        stage("reading the model")
        source = load(model)
        files.check(source)
        if files.report is not None and not options.run:
            raise OptionError("--report shows what the model gives, which --no-run does not ask it for; leave one out")
        files = files.dry() if dry_run else files
        with spreading(asked), working_in(options.work, partial(repeatable, source, request)):
            return _pruned(source, request, files, of_many)


def _pruned(source: Source, request: Request, files: Files, of_many: bool) -> Result:
    options = request.options
    if options.tune:
        check_trainable(source)
    subject = analyse(source, request, of_many=of_many)
    check_reach(subject, request)
    ranked = score(subject, request)
    with explained(source.name), Trials(subject, ranked.curvature, files.out, options.method) as trials:
        # only a finished file tells whether a cut survives: choosing tries, and what was tried is not made twice
        ranked = in_rounds(ranked, request, trials)
        if options.measures_quality:
            choice = choose_by_quality(ranked, request, trials)
            small = finished(choice, trials)
        else:
            ranked, choice, small = cut_by_budget(ranked, request, trials)
        training = train_trial(subject, small, trials, request) if options.tune else None
        if options.tidy:
            trials.fold_norms(small)
        about = provenance(ranked, request, choice, small)
        warnings = warnings_of(ranked, request, choice, small, trials)
        where = dearest(choice, subject.analysis.grouping)
        result = measure(subject, small, about, warnings, files.out, choice.timing, where, request, training)
        require(result, options.limits, where)
        files.save(result, small, lambda: _page(result, small, ranked, choice, request))
    return result


def apply(
    plan: Plan,
    model: Model,
    files: Files = Files(),
    *,
    input_shape: dict[str, tuple[int, ...]] | None = None,
    run: bool = True,
) -> Result:
    """Carry out a plan on the model it was made for, or on a retrained one: weights are cut, not repaired.

    Without ``run`` it is checked by its structure, and in what onnxruntime can run of it. Raises the errors of
    ``spa_cli.errors``.
    """
    stage("reading the model")
    source = load(model)
    files.check(source)
    if {*plan.tidy} - {UNASKED} and not run:
        raise UsageError("the plan is of a tidied model, and tidying is checked by running it; leave out --no-run")
    if plan.tidy:
        source = tidied(source, plan.tidy)
    stage("finding which channels depend on each other")
    analysis = analyse_model(source, input_shape or plan.input_shapes(source.graph), shrinking=plan.shrinking)
    selection = to_selection(plan, analysis)
    if not selection.kept:
        raise UsageError("the plan keeps everything, there is nothing to cut; give one that removes channels")
    if plan.shrinking is not None and not run:
        raise UsageError("the plan shrinks states, which is checked by running the model; leave out --no-run")
    if run:
        feeds, reference = first_run(source, analysis.graph, analysis.state.shapes, analysis.shapes_to_try, None)
        with explained(source.name):
            judges = or_feeds(source, feeds, lambda: made_up(analysis, 1))
        subject = Subject(source, analysis, feeds, reference, judges)
    else:
        subject = Subject.not_run(source, analysis)
    stage("cutting and verifying")
    if (why := differs(subject)) is not None:
        raise VerificationError(
            f"'{source.name}' can't be tidied as the plan says: {why}; make a plan from this model without --tidy"
        )
    with explained(source.name), Trials(subject, None, files.out, plan.about.get("method", "plan")) as trials:
        try:
            small = trials.attempt(selection)
            if LAST in plan.tidy:
                trials.fold_norms(small)
        except (CutError, VerificationError) as error:
            raise VerificationError(
                f"the plan can't be carried out on '{source.name}': {error}; make a plan from this model"
            ) from error
        about, warnings = dict(plan.about), trials.warnings
        if about.pop("repair", None) is not None:
            warnings.append(
                "the weights were cut, not repaired: a plan says what stays; train on, or repair with 'spa prune' anew"
            )
        result = measure(subject, small, about, warnings, files.out)
        files.save(result, small)
    return result


def tune(
    pruned: Model,
    teacher: Model,
    options: Options,
    asked: Training,
    files: Files = Files(),
    *,
    plan: Plan | None = None,
    step_done: Callable[[Point], None] | None = None,
) -> TuneResult:
    """Train ``pruned`` to give what ``teacher``, which it was made of (by ``plan``, if that is known), gives.

    Raises the errors of ``spa_cli.errors``.
    """
    with running_on(options.provider), allowing(options.memory_size):
        stage("reading the models")
        small, original = load(pruned), load(teacher)
        for source in (small, original):
            files.check(source)
        pair = Pair.of(original, small, replace(options, calib_samples=asked.samples, tune=asked.seconds or DEFAULT))
        work = None if plan is None else _cut_again(plan, pair, small)
        found = tuned(pair.subject, small, pair.samples, asked, options, step_done, work)
        with written(pair, found, files.out) as (result, staged):
            files.put({} if files.report is None else {files.report: _tune_page(result)}, staged)
            if files.out is None and small.external:
                staged.read_into(result.model)
    return result


def _cut_again(plan: Plan, pair: Pair, small: Source) -> Cut:
    source, shapes = pair.subject.source, pair.subject.analysis.input_shapes
    source = tidied(source, plan.tidy) if plan.tidy else source
    return carried_out(plan, source, small, analyse_model(source, shapes, shrinking=plan.shrinking))


def _tune_page(result: TuneResult) -> str:
    from spa_cli.report.page.training import tune_page

    return tune_page(result)


def _page(result: Result, small: Trial, ranked: Ranked, choice: Choice, request: Request) -> str:
    # what it is made with is an extra
    from spa_cli.report.page.prune import prune_page

    return prune_page(result, small, ranked, choice, request)
