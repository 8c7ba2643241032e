"""What is asked of ``prune``, read: the words of the options as what the rooms of the package work with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spa_cli.budget.constraints import Constraints
from spa_cli.calibration.focus import Focus
from spa_cli.calibration.reading import Reading
from spa_cli.devices.profiles import profile_of
from spa_cli.errors import OptionError
from spa_cli.importance.recipe import Recipe
from spa_cli.importance.registry import WEIGHTS
from spa_cli.options import Options
from spa_cli.options.sources import InMemory


@dataclass(frozen=True)
class Request:
    """``recipe``: how importance is put together; ``focus``: what counts more; ``reading``: how samples are read."""

    options: Options
    recipe: Recipe
    focus: Focus
    reading: Reading

    @staticmethod
    def of(options: Options) -> Request:
        """Raises UsageError for words that are not known, for what contradicts itself and where there is no budget."""
        options.check_budget()
        profile_of(options.device)
        recipe = Recipe.of(
            options.method, options.aggregation, options.normalisation, options.ensemble, options.role_weight
        )
        request = Request(options, recipe, Focus.of(options.focus), Reading.of(options))
        blind = all(part.criterion.needs == WEIGHTS for part in recipe.parts)
        if not options.run and not blind:
            looks = next(p.criterion for p in recipe.parts if p.criterion.needs != WEIGHTS)
            raise OptionError(
                f"--no-run can't be used with --method {looks.name}, which looks at what the model gives; use l2 or "
                "another that looks at weights only ('spa criteria')"
            )
        if request.focus.on_data and blind and not request.repairs:
            raise OptionError(
                f"--focus classes and samples say nothing to --method {options.method}, which looks at no data; "
                "use obspa or another criterion that does ('spa criteria')"
            )
        if isinstance(options.calib, InMemory) and options.calib.once and options.calib.same_as(options.test):
            raise OptionError(
                f"--calib and --test are the same {options.calib}, which gives its samples once; give two, or a list"
            )
        judged = options.test is not None or options.evaluate is not None
        if judged and not (options.measures_quality or options.sweeping):
            raise OptionError(
                "--test and --eval serve --max-drift, --min-agreement, --max-perplexity-ratio and --min-accuracy; give "
                "one of those, or leave them out"
            )
        if options.rounds > 1 and (options.measures_quality or options.sweeping):
            raise OptionError(
                "--rounds goes part of the way to one budget of size or speed, which --max-drift, --min-agreement, "
                "--max-perplexity-ratio, --min-accuracy and a sweep are not; leave it out"
            )
        if options.tune is not None and options.sweeping:
            raise OptionError("--tune trains one cut, a sweep makes many; leave it out, and tune the one you take")
        return request

    @property
    def repairs(self) -> bool:
        """Whether what is left is refitted: unless told, only where OBSPA is among the criteria."""
        told = self.options.repair
        return any(p.criterion.name == "obspa" for p in self.recipe.parts) if told is None else told

    @property
    def constraints(self) -> Constraints:
        """Which channels may go, and in which multiples widths have to come, whatever they save."""
        o = self.options
        round_to = o.round_to if isinstance(o.round_to, int) else 1
        return Constraints(o.ignore, o.only, round_to, o.min_channels, o.max_group_ratio, o.exact_only, o.whole)

    @property
    def blocks(self) -> bool:
        """Whether residual blocks may go whole: unless told, only where time is asked for."""
        told = self.options.blocks
        return self.options.target_latency is not None if told is None else told

    @property
    def elsewhere(self) -> bool:
        """Whether it is for a machine that is not at hand: its time is predicted, never measured."""
        return profile_of(self.options.device) is not None

    def with_budget(self, name: str, value: float) -> Request:
        """The same with one budget instead of its own."""
        return replace(self, options=self.options.with_budget(name, value))
