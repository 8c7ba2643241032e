"""Files of which nobody sees half, and that everybody may read."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest

from spa_cli.atomic import put, replacing, write_text
from spa_cli.errors import UsageError
from spa_cli.written import noting


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002])
def test_whatever_the_umask_others_may_read_a_report(tmp_path, mask) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "plan.json", "{}\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "plan.json").stat().st_mode) == 0o644
    assert (tmp_path / "plan.json").read_bytes() == b"{}\n"


def test_what_fails_half_way_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(UsageError, match=r"the page '.*a.txt' can't be written: no room; choose another"):  # noqa: SIM117
        with replacing(path, "page", "choose another") as place:
            place.write_text("ne")
            raise OSError(28, "no room")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


def test_what_somebody_else_made_meanwhile_is_not_replaced(tmp_path) -> None:
    path = tmp_path / "a.txt"
    with (
        pytest.raises(UsageError, match=r"'.*a.txt' exists now, somebody else made it meanwhile; use --force"),
        replacing(path, force=False) as place,
    ):
        place.write_text("new")
        path.write_text("theirs")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "theirs")]


def test_an_interrupt_leaves_nothing(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.txt") as place:
        place.write_text("ne")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path) -> None:
    with pytest.raises(UsageError, match="can't be written: No such file or directory; name another"):
        write_text(tmp_path / "none" / "a.txt", "")


# -- file systems that can less ---------------------------------------------------------------------------------------


def _ready(folder: Path, text: str = "new") -> Path:
    made = folder / "made"
    made.write_text(text)
    made.chmod(0o640)
    return made


@pytest.fixture
def out(tmp_path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def _no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_without_links_nobody_s_file_is_replaced_either(tmp_path, out, monkeypatch) -> None:
    monkeypatch.setattr(os, "link", _no_links)
    put(_ready(tmp_path), out / "a", False)
    assert (out / "a").read_text() == "new"
    with pytest.raises(FileExistsError):
        put(_ready(tmp_path, "newer"), out / "a", False)
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [("a", "new")]


def test_a_claim_that_comes_to_nothing_is_given_up(tmp_path, out, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", _no_links)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="Input/output"):
        put(_ready(tmp_path), out / "a", False)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("names", [True, False], ids=["every file has a name", "some have none"])
def test_over_another_file_system(out, monkeypatch, names) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == out.stat().st_dev:
        pytest.skip("there is one file system only")
    if names:
        monkeypatch.delattr(os, "O_TMPFILE")
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder, noting() as found:
        put(_ready(Path(folder)), out / "a", False)
        assert (out / "a").read_text() == "new"
        assert stat.S_IMODE((out / "a").stat().st_mode) == 0o640
        with pytest.raises(FileExistsError):
            put(_ready(Path(folder), "newer"), out / "a", False)
        assert (out / "a").read_text() == "new"
        put(_ready(Path(folder), "newest"), out / "a", True)
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [("a", "newest")]
    assert found == [out / "a"]
