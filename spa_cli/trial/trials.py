"""Cuts of one model that are tried: each is made, repaired and verified here, in files that nobody else sees."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import onnx

from spa_cli.analysis import Analysis
from spa_cli.channels.selection import Selection
from spa_cli.errors import CutError, VerificationError
from spa_cli.graph.save import Staged
from spa_cli.graph.view import build
from spa_cli.obspa.curvature import Curvature
from spa_cli.obspa.sides import Repair
from spa_cli.operators.settle import settled
from spa_cli.progress import stage
from spa_cli.runtime.session import Openable
from spa_cli.runtime.timing import Timing, latency
from spa_cli.runtime.widened import widened
from spa_cli.surgery.cut import Cut
from spa_cli.tidy.steps import with_norms_folded
from spa_cli.verification.check import verify_file, zeroing_differs
from spa_cli.verification.outputs import outputs_differ
from spa_cli.verification.speed import beside_tidied
from spa_cli.verification.subject import Subject
from spa_cli.version import __version__


@dataclass(eq=False)
class Trial:
    """One cut; ``outputs`` are what its file gives for the subject's feeds, ``None`` as long as it is not verified.

    ``done``: what a repair did, ``None`` where none was tried. ``finished``: what its file holds once it is written;
    ``folded``: how many norms were folded into layers there.
    """

    selection: Selection
    work: Cut
    staged: Staged
    done: Repair | None = None
    outputs: list[Any] | None = None
    finished: onnx.ModelProto | None = None
    folded: int = 0

    @property
    def model(self) -> onnx.ModelProto:
        """What its file holds."""
        return self.work.model if self.finished is None else self.finished

    @property
    def opened(self) -> Openable:
        """Its file, to be run on what the original takes."""
        return widened(str(self.staged.path), self.work.states)


class Trials:
    """Cuts of one model, under way to ``out``; the files of all of them go when the ``with`` ends.

    ``curvature``: what repairs a cut, ``None`` if nothing does. ``method``: for the note that a file carries.
    """

    def __init__(self, subject: Subject, curvature: Curvature | None, out: Path | None, method: str) -> None:
        self._subject, self._curvature, self._out, self._method = subject, curvature, out, method
        # files of the trial that is kept, and of the attempt at hand
        self._kept, self._files = ExitStack(), ExitStack()
        self._best: Trial | None = None
        self._latest: Trial | None = None
        self._warnings: list[str] = []

    def __enter__(self) -> Trials:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            self._files.close()
        finally:
            self._kept.close()

    @property
    def warnings(self) -> list[str]:
        """What could not be done."""
        return [*self._warnings]

    def attempt(self, selection: Selection, *, repair: bool = False) -> Trial:
        """Cut, repair (if asked) and verify; raises CutError or VerificationError if it does not survive.

        The attempt before it is dropped, unless it was kept.
        """
        self._files.close()
        self._latest = None
        trial = self._latest = self._cut(selection)
        if repair:
            self.repair(trial)
        self.verify(trial)
        return trial

    def keep(self) -> None:
        """The next attempt leaves this one as it is; what was kept before goes."""
        self._kept.close()
        self._kept, self._best = self._files.pop_all(), self._latest

    # -- the steps ----------------------------------------------------------------------------------------------------

    def cut(self, selection: Selection) -> Trial:
        """A smaller model, of which removing equals zeroing was checked: the one that was tried, where it is at hand.

        Raises CutError or VerificationError.
        """
        if self._best is not None and self._best.selection is selection:
            # what was tried after it is no longer wanted
            self._files.close()
            self._latest = None
            return self._best
        if self._latest is not None and self._latest.selection is selection:
            return self._latest
        return self._cut(selection)

    def _cut(self, selection: Selection) -> Trial:
        staged = self._staged(self._subject.source.folder)
        note = note_of(self._method, selection.removed, self._subject.analysis)
        try:
            work = self._made(selection, staged, note)
        except ValueError as error:
            # what NumPy and onnx say of sizes that don't fit
            raise CutError(str(error)) from error
        differs = self._zeroing(work, selection)
        if differs is not None:
            raise VerificationError(differs)
        return Trial(selection, work, staged)

    def _staged(self, folder: str) -> Staged:
        """Files for a model whose external data lies in ``folder`` so far."""
        name, beside = (self._out.name, self._out.parent) if self._out else ("pruned.onnx", None)
        staged = Staged(name, folder, beside, self._subject.source.room)
        self._files.callback(staged.discard)
        return staged

    def _made(self, selection: Selection, staged: Staged, note: Mapping[str, object] = MappingProxyType({})) -> Cut:
        analysis = self._subject.analysis
        if not analysis.graph.mapped:
            return analysis.cut(selection, note)
        # what is large goes to disk as soon as it is cut, all of it into one file
        work = analysis.cut(selection, note, staged.data.take)
        staged.take(work.model)
        work.folder = str(staged.path.parent)
        return work

    def repair(self, trial: Trial) -> None:
        """Fit the weights that are left, if anything repairs; what was fitted before stays."""
        if self._curvature is None or trial.done is not None:
            return
        stage("repairing and verifying")
        if trial.staged.data.taken and trial.work.folder == self._subject.source.folder:
            # its weights lie in a file already
            self._cut_anew(trial)
        trial.done, trial.outputs = self._curvature.repair(trial.work), None
        if trial.done.dropped:
            self._cut_anew(trial)

    def verify(self, trial: Trial) -> None:
        """Write the file and check it as a stranger would; raises VerificationError if it does not survive.

        Where only the repaired one does not, the repair is taken back.
        """
        if trial.outputs is not None:
            return
        try:
            self._check(trial)
        except VerificationError as error:
            if trial.done is None or trial.done.dropped:
                raise
            trial.done = Repair(dropped=str(error))
            self._cut_anew(trial)
            self._check(trial)

    def _cut_anew(self, trial: Trial) -> None:
        trial.staged.discard()
        again = self._cut(trial.selection)
        trial.work, trial.staged = again.work, again.staged

    def fold_norms(self, trial: Trial) -> None:
        """Fold the norms of a verified trial into its layers, and verify that; where it fails they stay, as is said."""
        assert trial.outputs is not None
        if trial.folded:
            return
        folder = trial.staged.path.parent
        model, folded = with_norms_folded(trial.model, str(folder))
        if not folded:
            return
        try:
            staged, outputs = self._anew(trial, model)
            why = outputs_differ(self._subject.analysis.graph, trial.outputs, outputs, "what was cut")
        except VerificationError as error:
            why = str(error)
        if why is not None:
            # of many trials it may be so
            self._warnings = [f"--tidy left BatchNormalization where it was: {why}"]
            return
        trial.staged, trial.finished, trial.folded, trial.outputs = staged, model, folded, outputs

    def exchange(self, trial: Trial, model: onnx.ModelProto) -> None:
        """Put a model with other weights in the place of a verified one; raises VerificationError if that can't be."""
        trial.staged, trial.outputs = self._anew(trial, model)
        trial.finished = model

    def _anew(self, trial: Trial, model: onnx.ModelProto) -> tuple[Staged, list[Any]]:
        """Another model in files of its own, and its outputs."""
        staged = self._staged(str(trial.staged.path.parent))
        return staged, self._verified(staged, model, trial.work)

    def _check(self, trial: Trial) -> None:
        trial.finished, trial.folded = settled(trial.work.model, trial.work.held), 0
        trial.outputs = self._verified(trial.staged, trial.finished, trial.work)

    def _verified(self, staged: Staged, model: onnx.ModelProto, work: Cut) -> list[Any]:
        """Write a model; its outputs, if it can take the original's place (else VerificationError); none if not run."""
        source, structure = self._subject.source, self._subject.structure
        staged.write(model, source.external)
        if structure is not None:
            structure.verify(str(staged.path), work)
            return []
        return verify_file(
            widened(str(staged.path), work.states),
            source.model,
            self._subject.checked,
            self._subject.reference,
            self._subject.feeds,
            large=source.external,
            free=self._subject.analysis.free_sizes(),
        )

    def _zeroing(self, work: Cut, selection: Selection) -> str | None:
        """Removing the exact groups has to equal zeroing them."""
        analysis = self._subject.analysis
        inexact = [i for i in selection.kept if not analysis.grouping.groups[i].exact]
        exact = selection.copy_without(inexact)
        if not exact.kept:
            return None
        if not inexact:
            return self._differs(work)
        staged = self._staged(self._subject.source.folder)
        try:
            return self._differs(self._made(exact, staged))
        finally:
            staged.discard()

    def _differs(self, work: Cut) -> str | None:
        subject = self._subject
        if subject.structure is not None:
            small = build(work.model, work.folder).in_memory() if subject.source.external else None
            return subject.structure.zeroing_differs(work, small)
        beside = self._out.parent if self._out else None
        return zeroing_differs(subject.analysis.graph, work, subject.feeds, beside=beside)

    # -- which group is to blame --------------------------------------------------------------------------------------

    def culprits(self, selection: Selection, problem: str) -> dict[int, str]:
        """The groups (by index) whose cut alone does not survive, each with what went wrong.

        By halving; where groups only fail together, all of those are blamed.
        """
        suspects = sorted(selection.kept)
        while len(suspects) > 1:
            middle = len(suspects) // 2
            for part in (suspects[:middle], suspects[middle:]):
                why = self._fails(selection.copy_without(set(selection.kept) - set(part)))
                if why is not None:
                    suspects, problem = part, why
                    break
            else:
                break
        return dict.fromkeys(suspects, problem)

    def _fails(self, selection: Selection) -> str | None:
        try:
            self.attempt(selection)
        except (CutError, VerificationError) as error:
            return str(error)
        return None

    # -- how long it takes --------------------------------------------------------------------------------------------

    def latency_left(self, selection: Selection, seconds: float) -> float:
        """Measured latency relative to the original's, both in one run (infinite if the cut can't be carried out)."""
        analysis, source = self._subject.analysis, self._subject.source
        try:
            work = analysis.cut(selection)
            small = build(settled(work.model, work.held), source.folder).in_memory()
            return latency(source, widened(small, work.states), self._subject.timed, budget=seconds).quiet_left
        except Exception:  # noqa: BLE001 - whatever onnxruntime raises: such a cut is no candidate
            return float("inf")

    def latency_of(self, trial: Trial) -> Timing:
        """The original and a finished cut, measured alternately in one run."""
        source = self._subject.source
        return latency(source, trial.opened, self._subject.timed, apart=source.external)

    def latency_beside_tidied(self, trial: Trial) -> Timing | None:
        """A finished cut beside the original as tidying alone leaves it, where it is tidied and that can be timed."""
        return beside_tidied(self._subject, trial.opened)


def note_of(method: str, removed: int, analysis: Analysis) -> dict[str, object]:
    """What the metadata entry of a result says; ``removed``: channels."""
    return {
        "version": __version__,
        "method": method,
        "removed_channels": removed,
        "channels": analysis.channels,
    }
