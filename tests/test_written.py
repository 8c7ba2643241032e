"""What is said of files that a failure leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from spa_cli.written import forget, note, noting, told

A, B, C, D = map(Path, "abcd")


def test_files_are_noted_once_in_their_order_until_they_are_taken_back() -> None:
    with noting() as found:
        for path in (B, A, B, C):
            note(path)
        forget(A)
        forget(D)
    assert found == [B, C]


def test_who_notes_around_has_them_too_whatever_happens() -> None:
    def half() -> None:
        with noting() as inner:
            note(B)
            assert inner == [B]
            raise OSError("no room")

    with noting() as outer:
        note(A)
        with pytest.raises(OSError, match="no room"):
            half()
        assert outer == [A, B]


def test_nobody_has_to_note() -> None:
    note(A)
    forget(A)
    with noting() as found:
        pass
    assert found == []


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "nothing was written"),
        ([A], "'a' was written before"),
        ([A, B], "'a', 'b' were written before"),
        ([A, B, C, D], "'a', 'b', 'c' and 1 more were written before"),
    ],
)
def test_as_the_end_of_a_sentence(files, says) -> None:
    assert told(files) == says
