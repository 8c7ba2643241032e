"""What a command writes: checked before any work, and all of it made before any of it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

from spa_cli.atomic import fill, put, refusing, under_way
from spa_cli.errors import OptionError, UsageError
from spa_cli.graph.pair import data_name
from spa_cli.graph.save import Staged, check_writable
from spa_cli.graph.source import Source
from spa_cli.interrupts import uninterrupted
from spa_cli.report.page.render import check_page
from spa_cli.result import Result
from spa_cli.trial.trials import Trial
from spa_cli.written import forget, told


@dataclass(frozen=True)
class Files:
    """``out``: the small model; ``plan_out``: its plan; ``report``: a page (extra ``report``). ``force``: overwrite."""

    out: Path | None = None
    plan_out: Path | None = None
    report: Path | None = None
    force: bool = False

    def check(self, source: Source) -> None:
        """Raise UsageError, before any work, for files that can't be written or would overwrite each other."""
        if self.out is not None:
            check_writable(self.out, source, self.force)
        if self.plan_out is not None:
            check_writable(self.plan_out, source, self.force, alone=True)
        if self.report is not None:
            check_page(self.report, source, self.force, "--report")
        data = self.out.with_name(data_name(self.out.name)) if self.out is not None and source.external else None
        flags = {"--output": self.out, "the weights of --output": data}
        flags |= {"--plan-out": self.plan_out, "--report": self.report}
        given = [(flag, file) for flag, file in flags.items() if file is not None]
        for (flag, file), (other, same) in combinations(given, 2):
            if file.resolve() == same.resolve():
                raise OptionError(f"{flag} and {other} are the same file '{same}'; give two names")

    def dry(self) -> Files:
        """The same, but that nothing is written."""
        return replace(self, out=None, plan_out=None, report=None)

    def save(self, result: Result, small: Trial, page: Callable[[], str] | None = None) -> None:
        """Write all that was asked for; raises UsageError where that fails. ``page`` makes the report."""
        texts = {}
        if self.plan_out is not None:
            texts[self.plan_out] = result.plan.to_json()
        if self.report is not None:
            if page is None:
                raise UsageError("there is no report of a plan that was carried out; leave it out")
            texts[self.report] = page()
        self.put(texts, small.staged)
        if self.out is None and result.source.external:
            small.staged.read_into(result.model)

    def put(self, texts: Mapping[Path, str], staged: Staged) -> None:
        """Write these and what is ``staged``, if an output was asked for: all or none; raises UsageError."""
        with ExitStack() as stack:
            steps: dict[Path, Callable[[], None]] = {}
            for file, text in texts.items():
                ready = stack.enter_context(under_way(file, room=len(text)))
                with refusing(file):
                    fill(ready, text)
                steps[file] = partial(place, ready, file, self.force)
            if self.out is not None:
                last, step = self.last(self.out, staged)
                steps[last] = step
            all_in_place(steps, self.force)

    def last(self, out: Path, staged: Staged) -> tuple[Path, Callable[[], None]]:
        """What is put in place last, and what does so."""
        return out, partial(staged.publish, out, self.force)


def place(ready: Path, file: Path, force: bool) -> None:
    """Put what is ready in place; raises UsageError."""
    with refusing(file):
        put(ready, file, force)


def all_in_place(steps: Mapping[Path, Callable[[], None]], force: bool) -> None:
    """Put what is made in place, one after the other; the last is there if all are.

    Where one fails, those before it go again, unless they may have replaced something (``force``): then the error says
    that they were written. Raises UsageError.
    """
    done: list[Path] = []
    with uninterrupted():
        for file, step in steps.items():
            try:
                step()
            except UsageError as error:
                if force:
                    raise UsageError(f"{error}; {told(done)}") from error
                for earlier in done:
                    earlier.unlink(missing_ok=True)
                    forget(earlier)
                raise
            done.append(file)
