"""What a command writes: checked before any work, made before any of it is written, and then all at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spa_cli.atomic import write_text
from spa_cli.errors import UsageError
from spa_cli.graph.save import check_writable
from spa_cli.graph.source import Source
from spa_cli.report.page.render import check_page
from spa_cli.result import Result
from spa_cli.trial.trials import Trial


@dataclass(frozen=True)
class Files:
    """``out``: the small model; ``plan_out``: its plan; ``report``: a page (extra ``report``). ``force``: overwrite."""

    out: Path | None = None
    plan_out: Path | None = None
    report: Path | None = None
    force: bool = False

    def check(self, source: Source) -> None:
        """Raise UsageError, before any work, for files that can't be written or would overwrite each other."""
        for file in (self.out, self.plan_out):
            if file is not None:
                check_writable(file, source, self.force)
        if self.report is not None:
            check_page(self.report, source, self.force, "--report")
        flags = {"--output": self.out, "--plan-out": self.plan_out, "--report": self.report}
        given = [(flag, file) for flag, file in flags.items() if file is not None]
        for at, (flag, file) in enumerate(given):
            for other, same in given[at + 1 :]:
                if file.absolute() == same.absolute():
                    raise UsageError(f"{flag} and {other} are the same file '{same}'; give two names")

    def save(self, result: Result, small: Trial, page: Callable[[], str] | None = None) -> None:
        """Write all that was asked for; raises UsageError where that fails."""
        texts = {}
        if self.report is not None and page is not None:
            texts[self.report] = page()
        if self.plan_out is not None:
            texts[self.plan_out] = result.plan.to_json()
        if self.out is not None:
            small.staged.publish(self.out)
        elif result.source.external:
            small.staged.read_into(result.model)
        for file, text in texts.items():
            write_text(file, text)
