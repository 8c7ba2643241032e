"""Cutting and verifying, and finding out which group is to blame when a cut does not survive."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spa_cli.analysis import Analysis
from spa_cli.channels.selection import Selection
from spa_cli.errors import CutError, VerificationError
from spa_cli.graph.save import Staged
from spa_cli.graph.source import Source
from spa_cli.graph.view import build
from spa_cli.operators.rewrite import cut
from spa_cli.runtime.session import Feeds, passes_checker, target
from spa_cli.runtime.timing import Timing, latency
from spa_cli.surgery.cut import Cut
from spa_cli.verification.check import verify_file, zeroing_differs

# zeroing what was removed needs the whole model twice in memory
_ZEROING_LIMIT = 500_000_000


@dataclass(frozen=True, eq=False)
class Made:
    """A cut that passed verification, staged on disk; ``outputs`` are what it gives for the feeds."""

    work: Cut
    selection: Selection
    staged: Staged
    outputs: list[Any]


class Attempts:
    """Tries selections on one model until one survives verification."""

    def __init__(
        self, source: Source, analysis: Analysis, feeds: Feeds, reference: list[Any], out: Path | None
    ) -> None:
        self._source, self._analysis, self._out = source, analysis, out
        self._feeds, self._reference = feeds, reference
        self._checked = passes_checker(source)

    def towards(self, out: Path) -> Attempts:
        """The same for another output."""
        other = copy(self)
        other._out = out
        return other

    def make(
        self,
        selection: Selection,
        note: dict[str, object],
        repair: Callable[[Cut], None] | None = None,
    ) -> tuple[Made | None, str]:
        """Cut, repair (if asked), stage and verify; ``(None, why)`` if it does not survive."""
        name, beside = (self._out.name, self._out.parent) if self._out else ("pruned.onnx", None)
        staged = Staged(name, self._source.folder, beside)
        try:
            return self._make(staged, selection, note, repair), ""
        except (CutError, VerificationError, ValueError, IndexError, KeyError, TypeError) as error:
            staged.discard()
            return None, str(error)
        except BaseException:
            staged.discard()
            raise

    def _make(
        self, staged: Staged, selection: Selection, note: dict[str, object], repair: Callable[[Cut], None] | None
    ) -> Made:
        analysis, source = self._analysis, self._source
        # what nothing looks at again goes to disk as soon as it is cut
        large = source.external and source.bytes > _ZEROING_LIMIT
        take = staged.data.take if large and repair is None else None
        work = cut(analysis.graph, analysis.state, analysis.grouping, selection, note, take)
        differs = self._zeroing(work, selection)
        if differs is not None:
            raise VerificationError(differs)
        if repair is not None:
            repair(work)
        staged.write(work.model, source.external)
        outputs = verify_file(
            str(staged.path),
            source.model,
            self._checked,
            self._reference,
            self._feeds,
            large=source.external,
            free=analysis.free_sizes(),
        )
        return Made(work, selection, staged, outputs)

    def _zeroing(self, work: Cut, selection: Selection) -> str | None:
        """Removing the exact groups has to equal zeroing them."""
        analysis = self._analysis
        if self._source.bytes > _ZEROING_LIMIT:
            return None
        inexact = [i for i in selection.kept if not analysis.grouping.groups[i].exact]
        exact = selection.copy_without(inexact)
        if not exact.kept:
            return None
        if inexact:
            work = cut(analysis.graph, analysis.state, analysis.grouping, exact, {})
        pruned = build(work.model, self._source.folder).in_memory() if self._source.external else None
        return zeroing_differs(analysis.graph, work, self._feeds, pruned)

    def unchecked(self) -> list[str]:
        """A warning where a model is too large to be compared with its own zeroed self."""
        if self._source.bytes <= _ZEROING_LIMIT:
            return []
        limit = f"{_ZEROING_LIMIT / 1e6:.0f} MB"
        return [f"that removing equals zeroing was not checked in onnxruntime: the model is larger than {limit}"]

    def latency_left(self, selection: Selection, seconds: float) -> float:
        """Measured latency relative to the original's, both in one run (infinite if the cut can't be carried out)."""
        analysis, source = self._analysis, self._source
        try:
            work = cut(analysis.graph, analysis.state, analysis.grouping, selection, {})
            small = build(work.model, source.folder).in_memory()
            return latency(target(source), small, self._feeds, budget=seconds).quiet_left
        except Exception:  # noqa: BLE001 - whatever onnxruntime raises: such a cut is no candidate
            return float("inf")

    def latency_of(self, made: Made) -> Timing:
        """The original and a finished cut, measured alternately in one run."""
        return latency(target(self._source), str(made.staged.path), self._feeds, apart=self._source.external)

    def culprits(self, selection: Selection, problem: str) -> dict[int, str]:
        """The groups (by index) whose cut alone does not survive, each with what went wrong.

        By halving; where groups only fail together, all of those are blamed.
        """
        suspects = sorted(selection.kept)
        while len(suspects) > 1:
            middle = len(suspects) // 2
            for part in (suspects[:middle], suspects[middle:]):
                made, why = self.make(selection.copy_without(set(selection.kept) - set(part)), {})
                if made is None:
                    suspects, problem = part, why
                    break
                made.staged.discard()
            else:
                break
        return dict.fromkeys(suspects, problem)
