"""Private folders for what is not finished, where what a killed process leaves does no harm, and is swept later.

They lie on the file system of what is to be written, so that a finished file is renamed into its place and not copied,
but not beside it, if there is such a place: the temporary folder, or the user's cache. Each is locked as long as its
process lives (the system takes the lock back, however it ends): one that is not locked is nobody's, and the next run
that works there removes it.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from spa_cli.interrupts import uninterrupted
from spa_cli.text import is_utf8

try:
    import fcntl
except ImportError:  # no POSIX: nothing can be told of who is alive, nothing is swept
    fcntl = None  # type: ignore[assignment]

_PREFIX, _CLAIM = ".spa-unfinished-", "claim-"
_NAME = re.compile(rf"{re.escape(_PREFIX)}({_CLAIM})?[a-z0-9_]{{8}}")
# a place on another file system, whose files have to be copied, is only taken where it has so many times the room
_MARGIN = 4
# what is small
SMALL = 1 << 24

_open: set[Private] = set()
_swept: set[Path] = set()


class Private:
    """A folder of this process alone, gone when the ``with`` ends, or the process.

    Raises OSError if it can't be made.
    """

    def __init__(self, parent: Path, kind: str = "") -> None:
        _sweep(parent)
        self._pid = os.getpid()
        self._held: int | None = None
        mine = False
        while not mine:
            with uninterrupted():
                self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{kind}", dir=parent))
                _open.add(self)
                try:
                    self._held = _hold(self.path)
                    # one that sweeps may have come before it could be held, and gone
                    mine = self.path.is_dir() if self._held is None else _is(self.path, self._held)
                except BlockingIOError:
                    mine = False
                if not mine:
                    # one that sweeps took it for nobody's
                    self.discard()

    def __enter__(self) -> Private:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.discard()

    def discard(self) -> None:
        """Leave nothing behind."""
        # a process that was forked off ends before its parent
        if self not in _open or os.getpid() != self._pid:
            return
        with uninterrupted():
            shutil.rmtree(self.path, ignore_errors=True)
            if self._held is not None:
                os.close(self._held)
                self._held = None
            _open.discard(self)


@atexit.register
def _discard_all() -> None:
    """What a second interrupt kept from being discarded."""
    for folder in list(_open):
        folder.discard()


def private(beside: Path | None = None, room: int | None = SMALL) -> Private:
    """A folder for what is to be put into the folder ``beside`` (``None``: for what nobody gets to see).

    ``room``: about how many bytes; ``None``: too many to be copied. Raises OSError if none can be made.
    """
    if beside is None:
        return Private(Path(tempfile.gettempdir()))
    device = beside.stat().st_dev
    # what lies in a folder of another encoding onnxruntime can't open
    places = [p for p in _elsewhere() if is_utf8(p) and (not p.exists() or not p.samefile(beside))]
    for place in places:
        with suppress(OSError):
            if _device(place) == device:
                place.mkdir(parents=True, exist_ok=True)
                return Private(place)
    for place in places if room is not None else ():
        with suppress(OSError):
            if place.is_dir() and shutil.disk_usage(place).free > _MARGIN * max(room or 0, SMALL):
                return Private(place)
    return Private(beside)


def user_cache() -> Path:
    """A place of this user's for what can be made again; raises OSError for one without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spa"
    except RuntimeError as error:
        raise OSError(str(error)) from error


def born(place: Path, folder: Path) -> None:
    """Make an empty file at ``place`` with the group, rights and labels that one made in ``folder`` has.

    Where this system can't, nothing: whoever writes the file makes it.
    """
    with suppress(OSError):
        file = nameless(folder)
        if file is not None:
            try:
                named(file, place)
            finally:
                os.close(file)


def nameless(folder: Path) -> int | None:
    """A file in ``folder`` that has no name, and is gone if its process is; ``None`` where there are none."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except OSError:
        # not every file system has them; one that can't be written to says so where it matters
        return None


def named(file: int, path: Path) -> None:
    """Give a file without a name this one; raises FileExistsError if it is taken, OSError."""
    # without a folder given, Python links the link itself
    os.link(f"/proc/self/fd/{file}", path, src_dir_fd=file, follow_symlinks=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """What is done inside no other process does in this folder meanwhile, where it can be locked. Not to be nested."""
    held = _hold(folder, wait=True)
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


@contextmanager
def claimed(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Files of these names are this process's to write into ``folder``; raises FileExistsError if another claims some.

    Among processes of one user, who has one cache: beside what is to be written nothing is left, not even by one that
    is killed. Where nobody can tell who is alive, or nothing can be made, nothing is claimed, and nothing refused.
    """
    claim = None if fcntl is None else _claim({os.path.join(os.path.realpath(folder), name) for name in names})
    try:
        yield
    finally:
        if claim is not None:
            claim.discard()


def _claim(files: set[str]) -> Private | None:
    for place in _of_this_user():
        try:
            place.mkdir(parents=True, exist_ok=True)
            # one that looks sees all of another's claim, or nothing
            with locked(place):
                for other in place.glob(f"{_PREFIX}{_CLAIM}*"):
                    listed = other / "names"
                    both = files & set(map(os.fsdecode, listed.read_bytes().split(b"\0"))) if _is_held(other) else ()
                    if both:
                        raise FileExistsError(os.path.basename(min(both)))
                mine = Private(place, _CLAIM)
                (mine.path / "names").write_bytes(b"\0".join(map(os.fsencode, files)))
                return mine
        except FileExistsError:
            raise
        except OSError:
            continue
    return None


def _of_this_user() -> Iterator[Path]:
    with suppress(OSError):
        yield user_cache() / "unfinished"
    with suppress(OSError):
        yield Path(tempfile.gettempdir())


def _is_held(path: Path) -> bool:
    """By another process, and for longer than it takes to sweep it."""
    for wait in (0.05, 0.0):
        try:
            file = _hold(path)
        except BlockingIOError:
            time.sleep(wait)
        else:
            if file is not None:
                os.close(file)
            return False
    return all(one.path != path for one in _open)


def _elsewhere() -> Iterator[Path]:
    with suppress(OSError):
        yield Path(tempfile.gettempdir())
    with suppress(OSError):
        yield user_cache() / "unfinished"


def _device(place: Path) -> int:
    """Of a folder, or of what it would be made in."""
    return next(p for p in (place, *place.absolute().parents) if p.exists()).stat().st_dev


def _hold(folder: Path, wait: bool = False) -> int | None:
    """Raises BlockingIOError if another holds it and ``wait`` is not."""
    if fcntl is None:
        return None
    file: int | None = None
    try:
        file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)  # type: ignore[arg-type]
        raise
    except OSError:
        # some network file systems don't lock folders
        if file is not None:
            os.close(file)
        return None
    return file


def _is(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except OSError:
        return False


def _sweep(parent: Path) -> None:
    """Remove what processes left here that are no more; once in each process, it takes a look at every name."""
    if fcntl is None or parent in _swept:
        return
    _swept.add(parent)
    with suppress(OSError):
        for entry in os.scandir(parent):
            if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                _remove(Path(entry.path))


def _remove(path: Path) -> None:
    with suppress(OSError):
        file = _hold(path) if path.stat().st_uid == os.geteuid() else None
        if file is not None:
            try:
                if _is(path, file):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(file)
