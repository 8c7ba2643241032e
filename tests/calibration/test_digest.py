"""What tells samples from others."""

from __future__ import annotations

from pathlib import Path

import pytest

from spa_cli.calibration.digest import digest
from spa_cli.errors import UsageError


def test_files_by_what_is_in_them(tmp_path) -> None:
    a, b, c = (tmp_path / n for n in "abc")
    a.write_text("1")
    b.write_text("1")
    c.write_text("2")
    assert digest(a) == digest(b) != digest(c)
    with pytest.raises(
        UsageError, match=r"'.*none' can't be read: No such file or directory; check the path and its permissions"
    ):
        digest(tmp_path / "none")


def test_folders_by_files_at_any_depth_and_their_names(tmp_path) -> None:
    file = tmp_path / "cat" / "1.png"
    file.parent.mkdir()
    file.write_text("1")
    first = digest(tmp_path)
    file.write_text("2")
    second = digest(tmp_path)
    file.rename(tmp_path / "cat" / "2.png")
    assert len({first, second, digest(tmp_path)}) == 3


def test_functions_by_their_file_and_name(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "data.py"
    file.write_text("def a(): ...\ndef b(): ...\n")
    first = digest(Path("data.py:a"))
    assert first == digest(Path("data.py:a"))
    assert first != digest(Path("data.py:b"))
    file.write_text("def a(): return 1\n")
    assert first != digest(Path("data.py:a"))


class _Callable:
    def __call__(self) -> None: ...


def test_callables_that_have_no_name_or_file() -> None:
    assert digest(test_files_by_what_is_in_them) != digest(test_callables_that_have_no_name_or_file)
    assert digest(_Callable()) == digest(_Callable())
    assert digest(dict) != digest(list)
