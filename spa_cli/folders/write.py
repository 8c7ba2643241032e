"""A folder of its own for a pruned model and all that ships with it, there in one step."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from spa_cli import written
from spa_cli.atomic import fill, refusing
from spa_cli.errors import UsageError
from spa_cli.files import Files
from spa_cli.folders.numbers import derived
from spa_cli.folders.recognise import ModelFolder
from spa_cli.graph.external import folders_of
from spa_cli.graph.pair import data_name
from spa_cli.graph.save import Staged
from spa_cli.graph.source import Source
from spa_cli.interrupts import uninterrupted
from spa_cli.result import Result
from spa_cli.trial.trials import Trial

Numbers = dict[str, dict[str, tuple[int | None, int]]]


@dataclass(frozen=True)
class FolderFiles(Files):
    """``out`` is the model in a private folder, which becomes ``target`` once all is in it.

    ``numbers``: what configurations say anew, once that is known.
    """

    folder: ModelFolder | None = None
    target: Path = Path()
    data_files: list[Path] = field(default_factory=list)
    numbers: Numbers = field(default_factory=dict)

    def check(self, source: Source) -> None:
        """As for one file, and that the folder may be written."""
        assert self.folder is not None
        if source.path == self.folder.model:
            self.data_files[:] = source.data_files
        if self.out is not None:
            check_target(self.target, self._beside(), self.force)
            for flag, file in (("--plan-out", self.plan_out), ("--report", self.report)):
                if file is not None and file.resolve().is_relative_to(self.target.resolve()):
                    raise UsageError(f"{flag} '{file}' lies in the folder '{self.target}', which is made anew; "
                                     "give another place")  # fmt: skip
        super().check(source)

    def save(self, result: Result, small: Trial, page: Callable[[], str] | None = None) -> None:
        """Write all that was asked for, if what reads the folder can; raises VerificationError, UsageError."""
        assert self.folder is not None
        for config in self.folder.configs:
            if changed := derived(config, result, self.folder.model.name):
                said = {key: (config.number(key), after) for key, after in changed.items()}
                self.numbers[config.file] = said
        super().save(result, small, page)

    def last(self, out: Path, staged: Staged) -> tuple[Path, Callable[[], None]]:
        """The folder, made so far that only its name is missing."""
        assert self.folder is not None
        staged.publish(out, True)
        for made in (out, out.with_name(data_name(out.name))):
            written.forget(made)
        with refusing(self.target, "folder"):
            for file in self._beside():
                copy(self.folder.path / file, out.parent / file)
            for config in self.folder.configs:
                if config.file in self.numbers:
                    new = {key: after for key, (_, after) in self.numbers[config.file].items()}
                    fill(out.parent / config.file, config.text(new))
        return self.target, partial(put_folder, out.parent, self.target, self.force)

    def _beside(self) -> list[Path]:
        assert self.folder is not None
        return beside(self.folder, self.data_files)


def beside(folder: ModelFolder, data_files: list[Path]) -> list[Path]:
    """All files of a folder but the model and its weights, relative to it.

    Raises UsageError for what is no file, and for links that lead elsewhere: nothing outside is read.
    """
    allowed, own = folders_of(folder.model.absolute()), {f.resolve() for f in (folder.model, *data_files)}
    found = []
    for parent, folders, files in os.walk(folder.path):
        for name in sorted([*files, *(f for f in folders if (Path(parent) / f).is_symlink())]):
            path = Path(parent) / name
            try:
                real = path.resolve()
                regular = stat.S_ISREG(real.stat().st_mode)
            except (OSError, RuntimeError):
                real, regular = path, False
            if not regular or not any(real.is_relative_to(place) for place in allowed):
                raise UsageError(
                    f"'{path}' is no file of the folder '{folder.path}', from which all is copied; put the file itself "
                    "there, or take it out"
                )
            if real not in own:
                found.append(path.relative_to(folder.path))
    return found


def check_target(target: Path, names: list[Path], force: bool) -> None:
    """Refuse, before any work, a folder that is there; with ``force`` one that has anything the new one has not."""
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise UsageError(f"the output '{target}' is no folder, and a model folder becomes one; name another")
    if not force:
        raise UsageError(f"the output folder '{target}' exists; use --force to replace it")
    # what somebody keeps there is not thrown away
    new = {str(name) for name in names}
    for parent, _, files in os.walk(target):
        for file in files:
            name = (Path(parent) / file).relative_to(target)
            if str(name) not in new and ".onnx" not in name.name:
                raise UsageError(
                    f"the output folder '{target}' holds '{name}', which the new one has not; name another folder"
                )


def copy(old: Path, new: Path) -> None:
    """A file as it is, on the disk; raises OSError."""
    new.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(old, new)
    with new.open("rb+") as file:
        os.fsync(file.fileno())
    new.chmod(stat.S_IMODE(old.stat().st_mode) | stat.S_IWUSR)


def put_folder(made: Path, target: Path, force: bool) -> None:
    """Give a finished folder its name; raises UsageError if that fails, and what was there is there again."""
    with refusing(target, "folder"), uninterrupted():
        if not os.path.lexists(target):
            os.rename(made, target)
        elif not force:
            raise FileExistsError
        else:
            # no system call of Python's exchanges two: for a moment there is none, and the old one has another name
            aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
            os.rename(target, aside)
            try:
                os.rename(made, target)
            except OSError:
                os.rename(aside, target)
                raise
            shutil.rmtree(aside, ignore_errors=True)
        written.note(target)
