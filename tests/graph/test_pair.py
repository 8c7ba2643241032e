"""A model and the file of its weights come in place together, whatever step fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from spa_cli import written
from spa_cli.graph.pair import data_name, put_model
from tests.graph.files import dense, save_external

# steps that put files in place; the last of them fails nowhere
STEPS = range(1, 7)


def _made(folder: Path, value: float) -> tuple[Path, Path]:
    """A finished model all of whose weights are this number, and their file, in a private folder."""
    folder.mkdir(exist_ok=True)
    model = dense(16)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(np.full(tensor.dims, value, np.float32), tensor.name))
    return save_external(model, folder / "s.onnx", data_name("s.onnx")), folder / data_name("s.onnx")


def _values(path: Path) -> set[float]:
    """All weights of a model as a reader finds them."""
    return {float(v) for t in onnx.load(path).graph.initializer for v in np.unique(numpy_helper.to_array(t))}


@pytest.fixture
def out(tmp_path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "s.onnx"


def _failing(monkeypatch, step: int) -> Callable[[], bool]:
    """The so-manieth link or move fails; whether one did."""
    count = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                raise OSError(errno.EIO, "Input/output error")
            return real(*given, **more)

        return call

    monkeypatch.setattr(os, "link", counted(os.link))
    monkeypatch.setattr(os, "replace", counted(os.replace))
    return lambda: count >= step


def _names(out: Path) -> list[str]:
    return sorted(p.name for p in out.parent.iterdir())


def test_both_get_their_names_and_no_other_stays(tmp_path, out) -> None:
    with written.noting() as found:
        put_model(*_made(tmp_path / "made", 1), out, False)
    assert _names(out) == ["s.onnx", "s.onnx.data"]
    assert _values(out) == {1}
    assert found == [out, out.with_name("s.onnx.data")]


def test_a_model_without_a_file_of_weights(tmp_path, out) -> None:
    made = tmp_path / "m.onnx"
    onnx.save(dense(16), made)
    put_model(made, None, out, False)
    assert _names(out) == ["s.onnx"]


@pytest.mark.parametrize("theirs", ["s.onnx", "s.onnx.data"])
def test_nothing_of_somebody_else_s_is_replaced(tmp_path, out, theirs) -> None:
    (out.parent / theirs).write_text("theirs")
    with written.noting() as found, pytest.raises(FileExistsError):
        put_model(*_made(tmp_path / "made", 1), out, False)
    assert _names(out) == [theirs]
    assert (out.parent / theirs).read_text() == "theirs"
    assert found == []


@pytest.mark.parametrize("step", STEPS)
def test_half_way_nothing_is_there(tmp_path, out, monkeypatch, step) -> None:
    failed = _failing(monkeypatch, step)
    with written.noting() as found:
        try:
            put_model(*_made(tmp_path / "made", 1), out, False)
        except OSError:
            assert failed()
            assert _names(out) == []
            assert found == []
        else:
            # it went another way, or all steps were done
            assert _values(out) == {1}
            assert _names(out) == ["s.onnx", "s.onnx.data"]
    monkeypatch.undo()
    put_model(*_made(tmp_path / "made", 2), out, True)
    assert _values(out) == {2}
    assert _names(out) == ["s.onnx", "s.onnx.data"]


@pytest.mark.parametrize("step", STEPS)
def test_half_way_the_old_output_is_whole_or_the_new_one(tmp_path, out, monkeypatch, step) -> None:
    put_model(*_made(tmp_path / "made", 1), out, False)
    failed = _failing(monkeypatch, step)
    with written.noting() as found:
        try:
            put_model(*_made(tmp_path / "made", 2), out, True)
        except OSError:
            assert failed()
            # of one run, and what is said of it is true
            assert _values(out) == ({2} if found else {1})
        else:
            assert _values(out) == {2}
    monkeypatch.undo()
    put_model(*_made(tmp_path / "made", 3), out, True)
    assert _values(out) == {3}
    assert _names(out) == ["s.onnx", "s.onnx.data"]


def test_what_a_killed_run_left_goes_and_what_looks_like_it_stays(tmp_path, out) -> None:
    (out.parent / ".s.onnx.0123abcd.data").write_text("left")
    (out.parent / ".s.onnx.0123abcd.data.linked").write_text("left")
    (out.parent / ".s.onnx.notes.data").write_text("mine")
    put_model(*_made(tmp_path / "made", 1), out, False)
    assert _names(out) == [".s.onnx.notes.data", "s.onnx", "s.onnx.data"]


def test_without_links(tmp_path, out, monkeypatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    put_model(*_made(tmp_path / "made", 1), out, False)
    put_model(*_made(tmp_path / "made", 2), out, True)
    assert _values(out) == {2}
    assert _names(out) == ["s.onnx", "s.onnx.data"]
