"""Private folders: where they are, who removes them, and whom they outlive."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from spa_cli import staging
from spa_cli.staging import Private, born, claimed, locked, nameless, private, user_cache

OTHER = Path("/dev/shm")


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch) -> Path:
    """A temporary folder and a cache of one's own, in which nothing was swept yet."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(staging, "_swept", set())
    return temporary


@pytest.fixture
def elsewhere(tmp_path) -> Iterator[Path]:
    """A folder on another file system."""
    if not OTHER.is_dir() or OTHER.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    with tempfile.TemporaryDirectory(dir=OTHER) as folder:
        yield Path(folder)


def test_what_is_unfinished_lies_in_the_temporary_folder(tmp_path, places) -> None:
    with private(tmp_path) as folder:
        assert folder.path.parent == places
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        (folder.path / "half").write_text("ha")
    assert list(places.iterdir()) == []


def test_where_the_temporary_folder_is_the_output_the_cache_has_it(tmp_path, places) -> None:
    with private(places) as folder:
        assert folder.path.parent == tmp_path / "cache" / "spa" / "unfinished"


def test_what_can_not_be_copied_lies_beside_where_all_else_is_on_another_disk(elsewhere, places) -> None:
    with private(elsewhere, None) as folder:
        assert folder.path.parent == elsewhere
    with private(elsewhere, 10) as folder:
        # a little can
        assert folder.path.parent == places
    assert list(elsewhere.iterdir()) == []


def test_a_place_without_the_room_is_not_taken(elsewhere) -> None:
    with private(elsewhere, 1 << 60) as folder:
        assert folder.path.parent == elsewhere


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_has_is_not(places) -> None:
    code = (
        "import os, sys; from pathlib import Path; from spa_cli.staging import Private; "
        "print(Private(Path(sys.argv[1])).path, flush=True); os.kill(os.getpid(), 9)"
    )
    there = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-c", code, str(places)]
    killed = subprocess.run(command, capture_output=True, text=True, env=there, check=False)
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    assert left.parent == places
    alive, mine = places / ".spa-unfinished-abcdefgh", places / ".spa-unfinished-mine"
    for folder in (alive, mine):
        folder.mkdir()
    held = os.open(alive, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with Private(places) as folder:
            assert {*places.iterdir()} == {alive, mine, folder.path}
    finally:
        os.close(held)


def test_a_file_under_such_a_name_is_nobody_s_folder(places) -> None:
    (places / ".spa-unfinished-abcdefgh").write_text("mine")
    with Private(places):
        pass
    assert (places / ".spa-unfinished-abcdefgh").read_text() == "mine"


def test_a_process_that_was_forked_off_leaves_its_parent_s_folder(places) -> None:
    with Private(places) as folder:
        child = os.fork()
        if not child:
            folder.discard()
            os._exit(0)
        os.waitpid(child, 0)
        assert folder.path.is_dir()
    assert not folder.path.exists()


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002])
def test_a_file_is_born_with_the_rights_of_its_folder(tmp_path, places, mask) -> None:
    before = os.umask(mask)
    try:
        (tmp_path / "usual").touch()
        born(places / "made", tmp_path)
    finally:
        os.umask(before)
    assert (places / "made").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_where_no_file_goes_without_a_name_nothing_is_born(tmp_path, places, monkeypatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    assert nameless(tmp_path) is None
    born(places / "made", tmp_path)
    assert list(places.iterdir()) == []


def test_a_folder_that_can_not_be_made_is_an_error_of_the_system(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        Private(tmp_path / "none")


def test_a_user_without_a_home_has_no_cache(monkeypatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(OSError, match="Could not determine home"):
        user_cache()


@pytest.mark.parametrize("locks", [True, False])
def test_one_that_is_swept_before_it_is_held_is_made_again(tmp_path, monkeypatch, locks) -> None:
    make, made = tempfile.mkdtemp, []

    def swept(**where: object) -> str:
        made.append(Path(make(**where)))
        if len(made) == 1:
            made[0].rmdir()
        return str(made[-1])

    monkeypatch.setattr(tempfile, "mkdtemp", swept)
    if not locks:
        monkeypatch.setattr(staging, "_hold", lambda _: None)
    with Private(tmp_path) as folder:
        assert folder.path == made[1]
        assert folder.path.is_dir()
    assert not made[1].exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names, or see to it themselves")
def test_a_place_that_native_code_can_not_open_is_not_taken(tmp_path, monkeypatch) -> None:
    odd = tmp_path / os.fsdecode(b"\xff")
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    with private(tmp_path) as folder:
        assert odd not in folder.path.parents
    assert list(odd.iterdir()) == []


def test_names_are_claimed_by_one_process_as_long_as_it_lives(tmp_path, places) -> None:
    script = (
        "import sys; from pathlib import Path; from spa_cli.staging import claimed\n"
        "with claimed(Path(sys.argv[1]), ['a', 'b']): print(flush=True); sys.stdin.read()"
    )
    odd, out, cache = os.fsdecode(b"\xff"), tmp_path / "out", user_cache() / "unfinished"
    out.mkdir()
    with subprocess.Popen([sys.executable, "-c", script, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        (tmp_path / "link").symlink_to(out)
        for folder in (out, tmp_path / "link"):
            with pytest.raises(FileExistsError, match=r"^b$"), claimed(folder, ["b", "c"]):
                pass
        with claimed(out, ["c", odd]), claimed(out, ["c", odd]), claimed(tmp_path, ["b"]):
            # other names, of this process the same ones, and another folder
            assert len(list(cache.glob(".spa-*"))) == 4
        other.kill()
    # beside what is to be written nothing lies, whoever was killed
    assert not list(out.iterdir())
    staging._swept.clear()
    with claimed(out, ["b"]):
        assert len(list(cache.glob(".spa-*"))) == 1
    assert not list(cache.glob(".spa-*"))


def test_names_are_claimed_without_a_cache(tmp_path, places, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with claimed(tmp_path, ["a"]):
        assert len(list(places.glob(".spa-unfinished-claim-*"))) == 1


def test_where_nothing_can_be_claimed_nothing_is_refused(tmp_path, monkeypatch) -> None:
    with claimed(tmp_path / "none", ["a"]):
        assert not (tmp_path / "none").exists()
    monkeypatch.setattr(staging, "fcntl", None)
    with claimed(tmp_path, ["a"]):
        assert not list(tmp_path.rglob(".spa-unfinished-claim-*"))


def test_one_at_a_time_in_a_folder(tmp_path) -> None:
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        with locked(tmp_path), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(other)
