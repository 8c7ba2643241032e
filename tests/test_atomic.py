"""Files of which nobody sees half, and that everybody may read."""

from __future__ import annotations

import os
import stat

import pytest

from spa_cli.atomic import replacing, write_text
from spa_cli.errors import UsageError


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
