"""What goes wrong, as a sentence, an object and an exit code; and whether anything was written."""

from __future__ import annotations

import json as parser
from pathlib import Path

import pytest
import typer

from spa_cli import written
from spa_cli.cli.failures import guarded, tell
from spa_cli.errors import ModelError, ResourceError, UnreachableError, UsageError, VerificationError

MEMORY = "give --memory less, or run it where there is more"


def fails(
    error: BaseException, capsys, *files: str, kept: str | None = None, debug: bool = False, json: bool = False
) -> tuple[int, list[str], str]:
    """Exit code, lines on stderr, what is on stdout."""
    with pytest.raises(typer.Exit) as left, guarded(debug, kept, json):
        for file in files:
            written.note(Path(file))
        raise error
    said = capsys.readouterr()
    return left.value.exit_code, said.err.splitlines(), said.out


def _native() -> RuntimeError:
    """As onnxruntime says it, inside of something else."""
    error = RuntimeError("while a session was made")
    error.__cause__ = RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer")
    return error


@pytest.mark.parametrize(
    ("error", "code", "kind", "says"),
    [
        (VerificationError("it differs; use another"), 1, "verification", "it differs; use another"),
        (UsageError("no such file; name another"), 2, "usage", "no such file; name another"),
        (ModelError("no model; export it"), 3, "model", "no model; export it"),
        (UnreachableError("too far; ask for less"), 4, "unreachable", "too far; ask for less"),
        (ResourceError("no room; make some"), 5, "memory", "no room; make some"),
        (MemoryError(), 5, "memory", f"there is not enough memory (MemoryError); {MEMORY}; nothing was written"),
        (
            _native(),
            *(5, "memory", "there is not enough memory ([ONNXRuntimeError] : 6 : Failed to allocate memory for "),
        ),
        (
            PermissionError(13, "Permission denied", "a.txt"),
            *(2, "usage", "'a.txt' can't be used: Permission denied; check the name and its permissions "),
        ),
        (
            KeyError("k"),
            *(1, "unexpected", "an unexpected KeyError ('k'); nothing was written; run again with --debug and report "),
        ),
    ],
)
@pytest.mark.parametrize("json", [False, True])
def test_each_has_its_code_and_its_object(error, code, kind, says, json, capsys) -> None:
    left, lines, out = fails(error, capsys, json=json)
    assert left == code
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {says}")
    if not json:
        assert out == ""
        return
    found = parser.loads(out)
    message = lines[0].removeprefix("error: ")
    assert found == {"schema": "spa.error/1", "error": {"code": code, "kind": kind, "message": message}}


@pytest.mark.parametrize(
    "error",
    [UsageError("no room; make some"), MemoryError(), KeyError("k"), PermissionError(13, "Permission denied", "b")],
)
def test_what_was_written_before_is_said(error, capsys) -> None:
    _, (line,), _ = fails(error, capsys, "out/plan.json", "out/small.onnx")
    assert "'out/plan.json', 'out/small.onnx' were written before" in line
    assert "nothing was written" not in line


def test_what_says_so_itself_is_not_said_twice(capsys) -> None:
    _, (line,), _ = fails(UsageError("no room; 'a' was written before"), capsys, "a")
    assert line == "error: no room; 'a' was written before"


def test_an_interrupt(capsys) -> None:
    assert fails(KeyboardInterrupt(), capsys) == (130, ["interrupted; nothing was written"], "")
    wrapped = RuntimeError("Error calling __set_name__")
    wrapped.__cause__ = KeyboardInterrupt()
    assert fails(wrapped, capsys) == (130, ["interrupted; nothing was written"], "")
    assert fails(KeyboardInterrupt(), capsys, "a")[1] == ["interrupted; 'a' was written before"]
    code, lines, out = fails(KeyboardInterrupt(), capsys, "a", kept="the sweep goes on where it stopped", json=True)
    assert (code, lines) == (130, ["interrupted; the sweep goes on where it stopped"])
    assert parser.loads(out)["error"]["kind"] == "interrupted"


def test_a_traceback_only_for_who_asks_for_it(capsys) -> None:
    _, lines, _ = fails(UsageError("no\nroom; make some"), capsys)
    assert len(lines) == 1
    _, lines, _ = fails(UsageError("no room; make some"), capsys, debug=True)
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "error: no room; make some"


def test_an_orderly_end_is_none_of_them(capsys) -> None:
    with pytest.raises(typer.Exit) as left, guarded(False):
        raise typer.Exit(0)
    assert left.value.exit_code == 0
    with guarded(False):
        pass
    assert capsys.readouterr() == ("", "")


def test_where_the_object_finds_no_room_nothing_was_said_yet(monkeypatch, capsys) -> None:
    """A parent, which then says all of it, must not be the second to do so."""

    def crowded(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("spa_cli.cli.show.print_json", crowded)
    with pytest.raises(MemoryError):
        tell(5, "memory", "there is not enough memory", json=True)
    assert capsys.readouterr().err == ""
