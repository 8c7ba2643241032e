"""Running ``spa`` in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from spa_cli.cli.app import commands


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


def spa(*arguments: object) -> Ran:
    """Run ``spa`` with these arguments; anything but an orderly exit is raised."""
    result = CliRunner().invoke(commands(), [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


def refused(code: int, *arguments: object) -> str:
    """Run ``spa``, which has to refuse with this exit code and one sentence on stderr; the sentence."""
    ran = spa(*arguments)
    assert ran.code == code, ran
    assert ran.out == "", ran.out
    lines = ran.err.strip().splitlines()
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("error: "), ran.err
    assert "Traceback" not in lines[0]
    assert "unexpected" not in lines[0], lines[0]
    return lines[0].removeprefix("error: ")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refuse_prune(
    folders: tuple[Path, Path], code: int, model: Path, *options: object, target: Path | None = None
) -> str:
    """``spa prune`` refuses, and both folders (given, out) are as they were."""
    given, out = folders
    before = contents(given), contents(out)
    text = refused(code, "prune", model, "-o", target or out / "small.onnx", *options)
    assert (contents(given), contents(out)) == before
    assert not [p.name for p in (*given.iterdir(), *out.iterdir()) if p.name.startswith(".")]
    return text


def plan_file(path: Path, kept: object, schema: str = "spa.plan/1", **rest: object) -> Path:
    """A plan file with this content."""
    path.write_text(json.dumps({"schema": schema, "kept": kept, **rest}))
    return path


def write(path: Path, data: bytes) -> Path:
    """A file with these bytes."""
    path.write_bytes(data)
    return path
