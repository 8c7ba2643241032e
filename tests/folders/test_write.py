"""The folder is there as a whole or not at all, and over nothing that was not to be replaced."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import spa_cli
from spa_cli.errors import UsageError
from spa_cli.folders.write import put_folder
from tests.cli.running import contents
from tests.folders.making import optimum, said

ASKED = {"method": "l1", "ratio": 0.3}


@pytest.fixture
def folder(tmp_path) -> Path:
    return optimum(tmp_path / "model")


def refused(folder, out, text: str, **options: object) -> None:
    before = contents(folder.parent)
    with pytest.raises(UsageError, match=text):
        spa_cli.prune(folder, out, **{**ASKED, **options})
    assert contents(folder.parent) == before


def test_an_existing_folder_needs_force(folder, tmp_path) -> None:
    out = tmp_path / "small"
    spa_cli.prune(folder, out, **ASKED)
    first = contents(out)
    refused(folder, out, rf"^the output folder '{out}' exists; use force=True to replace it$")
    spa_cli.prune(folder, out, force=True, method="l1", ratio=0.6)
    assert contents(out)["model.onnx"] != first["model.onnx"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "small"]


def test_what_somebody_keeps_there_is_not_thrown_away(folder, tmp_path) -> None:
    out = tmp_path / "small"
    out.mkdir()
    (out / "thesis.tex").write_text("years")
    refused(folder, out, r"holds 'thesis.tex', which the new one has not; name another folder$", force=True)
    (tmp_path / "file").write_text("")
    refused(folder, tmp_path / "file", r"is no folder, and a model folder becomes one; name another$", force=True)


def test_a_folder_is_no_file(folder, tmp_path) -> None:
    text = r"^a model folder becomes a folder, and out '.*small.onnx' is called as a file is; give another name$"
    refused(folder, tmp_path / "small.onnx", text)


def test_folders_lie_apart(folder, tmp_path) -> None:
    for out in (folder, folder / "small", tmp_path):
        refused(folder, out, r"lie in each other; name another$", force=True)
    refused(folder, tmp_path / "none" / "small", r"does not exist; create it first$")


def test_what_is_written_beside_is_not_inside(folder, tmp_path) -> None:
    out = tmp_path / "small"
    spa_cli.prune(folder, out, plan_out=tmp_path / "plan.json", **ASKED)
    assert (tmp_path / "plan.json").is_file()
    inside = re.escape(f"plan_out '{out / 'plan.json'}' lies in the folder '{out}', which is made anew; give another")
    refused(folder, out, inside, plan_out=out / "plan.json", force=True)


def test_links_are_followed_where_they_stay(folder, tmp_path) -> None:
    out = tmp_path / "small"
    (folder / "vocab.txt").symlink_to("special/vocab.txt")
    spa_cli.prune(folder, out, **ASKED)
    assert not (out / "vocab.txt").is_symlink()
    assert (out / "vocab.txt").read_bytes() == (folder / "vocab.txt").read_bytes()


def test_nothing_outside_is_copied(folder, tmp_path) -> None:
    (tmp_path / "secret").write_text("key")
    for target in (tmp_path / "secret", tmp_path / "missing", tmp_path):
        (folder / "vocab.txt").symlink_to(target)
        refused(
            folder, tmp_path / "small", r"is no file of the folder .*, from which all is copied; put the file itself"
        )
        (folder / "vocab.txt").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(UsageError, match=r"'.*pipe' is no file of the folder"):
        spa_cli.prune(folder, tmp_path / "small", **ASKED)


def test_a_cache_of_hugging_face(folder, tmp_path) -> None:
    snapshot, blobs = tmp_path / "hub" / "snapshots" / "1", tmp_path / "hub" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for name in ("model.onnx", "config.json", "tokenizer.json"):
        (blobs / name[::-1]).write_bytes((folder / name).read_bytes())
        (snapshot / name).symlink_to(f"../../blobs/{name[::-1]}")
    spa_cli.prune(snapshot, tmp_path / "small", **ASKED)
    assert sorted(contents(tmp_path / "small")) == ["config.json", "model.onnx", "tokenizer.json"]
    assert said(tmp_path / "small") != said(snapshot)


def test_a_move_that_fails_leaves_the_old_one(tmp_path, monkeypatch) -> None:
    out = tmp_path / "small"
    out.mkdir()
    (out / "old").write_text("old")
    with pytest.raises(UsageError, match=r"exists now, somebody else made it meanwhile"):
        put_folder(tmp_path / "made", out, False)
    with pytest.raises(UsageError, match=rf"^the folder '{out}' can't be written: No such file or directory"):
        put_folder(tmp_path / "made", out, True)
    assert contents(tmp_path) == {"small/old": b"old"}
