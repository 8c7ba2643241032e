"""A plan carried out on the model it was made for, beside a file that was made by it."""

from __future__ import annotations

from spa_cli.analysis import Analysis
from spa_cli.errors import CutError, VerificationError
from spa_cli.graph.source import Source
from spa_cli.plan import Plan, to_selection
from spa_cli.surgery.cut import Cut


def carried_out(plan: Plan, before: Source, after: Source, analysis: Analysis) -> Cut:
    """The plan's cut of the first model, of which the second has the shapes; raises VerificationError if it hasn't."""
    selection = to_selection(plan, analysis)
    try:
        work = analysis.cut(selection)
    except CutError as error:
        raise VerificationError(
            f"the plan can't be carried out on '{before.name}': {error}; make a plan from this model"
        ) from error
    _check_shapes(work, after, plan)
    return work


def _check_shapes(work: Cut, after: Source, plan: Plan) -> None:
    found = {n: tuple(t.dims) for n, t in after.graph.parameters.items()}
    for name in (*plan.kept, *plan.hidden):
        if name in found and found[name] != work.shape(name):
            raise VerificationError(
                f"'{name}' has shape {found[name]}, the plan leaves {work.shape(name)}; give the plan that made it"
            )
