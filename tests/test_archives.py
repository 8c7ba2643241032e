"""Archives that unpack to more than there is, or can't be unpacked, wherever one is read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from spa_cli import archives
from spa_cli.calibration.read import read_samples
from spa_cli.errors import UsageError
from spa_cli.importance.user_scores import read_scores
from spa_cli.weights import npz_file
from tests.calibration.graphs import graph

READERS: dict[str, Callable[[Path], object]] = {
    "samples": lambda path: read_samples(path, graph(x=(TensorProto.FLOAT, ["n", 3]))),
    "scores": lambda path: read_scores(path, {"x": (4, 3)}),
    "weights": npz_file.read,
}
every_reader = pytest.mark.parametrize("read", READERS.values(), ids=list(READERS))


def _npz(path: Path, *members: tuple[str, bytes], packed: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packed) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def _npy(array: np.ndarray) -> bytes:
    text = io.BytesIO()
    np.save(text, array)
    return text.getvalue()


X = _npy(np.ones((4, 3), np.float32))


@every_reader
def test_a_bomb_is_refused_before_it_is_unpacked(read, tmp_path, monkeypatch) -> None:
    path = _npz(tmp_path / "bomb.npz", ("x.npy", X), ("y.npy", _npy(np.zeros(4_000_000, np.uint8))))
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(archives, "whole_memory", lambda: 1_000_000)
    with pytest.raises(
        UsageError, match=r"bomb\.npz' unpacks to 0\.004 GB, more than the 0\.001 GB of memory that there are"
    ):
        read(path)


@every_reader
def test_one_that_claims_more_than_it_holds(read, tmp_path) -> None:
    for rows in (4_000_000_000_000_000, 5):
        text = str(rows).encode()
        lying = X.replace(b"(4, 3)", b"(" + text + b", 3)").replace(b" " * (len(text) - 1) + b"\n", b"\n", 1)
        assert len(lying) == len(X)
        with pytest.raises(
            UsageError, match=rf"a\.npz' at 'x.npy' says that it holds {rows}x3 numbers, for which it is"
        ):
            read(_npz(tmp_path / "a.npz", ("x.npy", lying)))


def test_one_array_that_claims_more_than_there_is(tmp_path, monkeypatch) -> None:
    """The numbers are not looked for: there need not be room for what is claimed."""
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was read"))
    for version in (1, 2, 3):
        text = io.BytesIO()
        np.lib.format.write_array(text, np.ones((4, 3), np.float32), (version, 0))
        (tmp_path / "a.npy").write_bytes(text.getvalue().replace(b"(4, 3)", b"(40, 3)"))
        with pytest.raises(
            UsageError, match=r"a\.npy' says that it holds 40x3 numbers, for which it is too short; save"
        ):
            READERS["samples"](tmp_path / "a.npy")


@every_reader
def test_one_that_is_encrypted_or_packed_in_a_way_that_is_not_known(read, tmp_path) -> None:
    path = _npz(tmp_path / "a.npz", ("x.npy", X))
    data = bytearray(path.read_bytes())
    central, local = data.rindex(b"PK\x01\x02"), data.index(b"PK\x03\x04")
    for at, place in ((8, 6), (10, 8)):
        changed = bytearray(data)
        # the flag "encrypted", then a method that nobody has
        changed[central + at] = changed[local + place] = 1 if at == 8 else 97
        path.write_bytes(changed)
        with pytest.raises(UsageError):
            read(path)


@every_reader
def test_names_of_members_reach_no_file(read, tmp_path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    path = _npz(inside / "a.npz", ("x.npy", X), ("../../escaped.npy", X), ("/tmp/spa-escaped.npy", X))
    try:
        read(path)
    except UsageError as error:
        # scores have to be of parameters
        assert "which this model doesn't have" in str(error)
    assert [p.name for p in sorted(tmp_path.rglob("*"))] == ["inside", "a.npz"]
    assert not Path("/tmp/spa-escaped.npy").exists()


@every_reader
def test_objects_are_never_unpickled(read, tmp_path) -> None:
    ran: list[int] = []

    class Runs:
        def __reduce__(self) -> tuple:
            return ran.append, (1,)

    np.savez(tmp_path / "a.npz", x=np.array([[Runs()] * 3] * 4, object))
    with pytest.raises(UsageError, match="it holds objects of Python"):
        read(tmp_path / "a.npz")
    assert not ran


@pytest.mark.parametrize("read", [READERS["samples"], READERS["scores"]], ids=["samples", "scores"])
def test_what_is_no_file_of_numpy_invites_to_no_pickles(read, tmp_path) -> None:
    (tmp_path / "a.npz").write_bytes(b"\x08\x08 a model given as samples")
    with pytest.raises(UsageError, match="it is no file of NumPy; save") as refused:
        read(tmp_path / "a.npz")
    assert "pickle" not in str(refused.value)


def test_what_is_no_archive_is_left_to_its_reader(tmp_path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no archive")
    archives.check_unpacked(tmp_path / "a.npz")
