"""What was measured is kept, found again, and forgotten; nothing that is wrong with a folder stops anyone."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from spa_cli.devices import store
from spa_cli.devices.table import Run, Table
from spa_cli.errors import UsageError
from tests.builders import analysed
from tests.devices.nets import dense, separable


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SPA_DEVICES", str(tmp_path / "kept"))
    return tmp_path / "kept"


def _table(model: str = "one.onnx") -> Table:
    return Table("a machine", model, [Run({"a": [16]}, {"a": 2.0}, {"a": 1e-3})], {"a": "product"}, {"a": "a"})


def test_what_is_kept_is_found(place) -> None:
    assert store.fetch("k") is None
    assert list(store.kept()) == []
    assert store.keep("k", _table()) == _table()
    assert store.fetch("k") == _table()
    assert [(file.name, t.model) for file, t in store.kept()] == [("k.json", "one.onnx")]
    assert [p.name for p in place.iterdir()] == ["k.json"]


def test_whoever_was_first_stays() -> None:
    store.keep("k", _table("first"))
    assert store.keep("k", _table("second")).model == "first"
    assert store.fetch("k").model == "first"


def test_one_folder_or_another(monkeypatch, tmp_path) -> None:
    assert store.folder() == tmp_path / "kept"
    monkeypatch.delenv("SPA_DEVICES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.folder() == tmp_path / "spa" / "devices"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert store.folder() == tmp_path / "home" / ".cache" / "spa" / "devices"


def test_somebody_without_a_home(monkeypatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("could not determine home directory")

    monkeypatch.delenv("SPA_DEVICES")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert store.keep("k", _table()) == _table()
    assert store.fetch("k") is None
    assert list(store.kept()) == []
    with pytest.raises(UsageError, match="what was measured can't be forgotten"):
        store.clear()


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", "null", '{"machine": "m", "model": "x", "runs": []}'),
        json.dumps(_table().json() | {"runs": []}),
        json.dumps(_table().json() | {"runs": [{"widths": 3}]}),
        json.dumps(_table().json() | {"leaders": {"b": "b"}}),
        json.dumps(_table().json() | {"kinds": {"b": "product"}}),
        json.dumps(_table().json() | {"runs": [*_table().json()["runs"], {"widths": {}, "work": {}, "seconds": {}}]}),
        json.dumps(_table().json() | {"more": 1}),
    ],
)
def test_what_is_no_table_is_measured_anew_and_replaced(place, text) -> None:
    place.mkdir()
    (place / "k.json").write_text(text)
    assert store.fetch("k") is None
    assert list(store.kept()) == []
    assert store.keep("k", _table()) == _table()
    assert store.fetch("k") == _table()
    assert [p.name for p in place.iterdir()] == ["k.json"]


def test_a_file_system_without_links(monkeypatch, place) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(os, "link", no_links)
    store.keep("k", _table("first"))
    assert store.keep("k", _table("second")).model == "first"
    assert [p.name for p in place.iterdir()] == ["k.json"]


def test_a_full_disk_leaves_nothing_behind(monkeypatch, place) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(store, "put", full)
    assert store.keep("k", _table()) == _table()
    assert list(place.iterdir()) == []


def test_a_folder_that_is_a_file(place) -> None:
    place.write_text("")
    assert store.keep("k", _table()) == _table()
    assert store.fetch("k") is None
    assert list(store.kept()) == []
    assert store.clear() == 0


@pytest.mark.skipif(os.getuid() == 0, reason="root may do anything")
def test_a_folder_that_may_not_be_written(place) -> None:
    store.keep("k", _table())
    place.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert store.keep("j", _table()) == _table()
        with pytest.raises(UsageError, match=r"what was measured can't be forgotten: '.*k\.json'"):
            store.clear()
    finally:
        place.chmod(stat.S_IRWXU)


def test_what_can_not_be_deleted_is_said(monkeypatch) -> None:
    def denied(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "permission denied", str(path))

    store.keep("k", _table())
    monkeypatch.setattr(Path, "unlink", denied)
    with pytest.raises(UsageError, match=r"can't be forgotten: '.*k\.json': permission denied; change its permissions"):
        store.clear()


def test_all_is_forgotten_what_was_half_written_too(place) -> None:
    assert store.clear() == 0
    for key in "abc":
        store.keep(key, _table())
    (place / "x.part").write_text("")
    (place / "not ours.txt").write_text("")
    assert store.clear() == 3
    assert [p.name for p in place.iterdir()] == ["not ours.txt"]
    assert list(store.kept()) == []


def test_the_key_is_of_the_graph_not_of_the_weights() -> None:
    x = {"x": np.zeros((1, 3, 8, 8), np.float32)}
    one, same, other = dense(), dense(), separable()
    same.graph.initializer[0].raw_data = bytes(len(same.graph.initializer[0].raw_data))
    keys = [store.key_of(analysed(m), x) for m in (one, same, other)]
    assert keys[0] == keys[1] != keys[2]
    assert store.key_of(analysed(one), {"x": np.zeros((2, 3, 8, 8), np.float32)}) != keys[0]


def test_the_machine_in_words() -> None:
    assert "cores, onnxruntime " in store.machine()
