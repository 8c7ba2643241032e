"""Files: nothing but the cut changes, from one format to another; what a format can't hold is said or refused."""

from __future__ import annotations

import os
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import spa_cli
from spa_cli.errors import UsageError
from spa_cli.weights import safetensors_file
from spa_cli.weights.files import of_mapping, read, write
from tests.weights import mlp, planned, same, smaller

BRAIN = np.dtype(ml_dtypes.bfloat16)


@pytest.fixture
def job(tmp_path) -> tuple:
    """A plan, weights of several types with things it doesn't touch, and what should come out."""
    plan, arrays = planned(mlp())
    kinds = dict(zip(arrays, (BRAIN, np.float32, np.float16, np.float64), strict=True))
    rest = {"steps": np.array(5, np.int64), "mask": np.array([True, False]), "none": np.zeros((0, 3), np.int8)}

    def typed(w) -> dict[str, np.ndarray]:
        return {n: a.astype(kinds[n]) for n, a in w.items()} | rest

    (tmp_path / "plan.json").write_text(plan.to_json())
    return tmp_path / "plan.json", typed(arrays), typed(smaller(plan, arrays))


def test_safetensors_keeps_types_and_metadata(job, tmp_path) -> None:
    plan, arrays, wanted = job
    save_file(arrays, tmp_path / "w.safetensors", metadata={"format": "pt", "note": "kept"})
    result = spa_cli.apply_weights(plan, tmp_path / "w.safetensors", tmp_path / "small.safetensors")
    assert result.warnings == []
    with safe_open(tmp_path / "small.safetensors", framework="np") as file:
        assert file.metadata() == {"format": "pt", "note": "kept"}
    found = read(tmp_path / "small.safetensors").tensors
    assert same({k: found[k] for k in wanted}, wanted)
    assert found["layer1.weight"].dtype == BRAIN


def test_safetensors_without_types_of_numpy(job, tmp_path, monkeypatch) -> None:
    """Some versions of the library don't give numpy what it has no name for; float8 never."""
    _, arrays, _ = job
    save_file({**arrays, "small": np.ones(4, ml_dtypes.float8_e4m3fn)}, tmp_path / "w.safetensors")
    found = read(tmp_path / "w.safetensors").tensors
    assert found["small"].dtype == ml_dtypes.float8_e4m3fn
    assert same({k: found[k] for k in arrays}, arrays)
    monkeypatch.delitem(safetensors_file._TYPES, "F8_E4M3")
    with pytest.raises(UsageError, match=r"'small' of .* is F8_E4M3, which numpy has no type for; cast it first"):
        read(tmp_path / "w.safetensors")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch) -> None:
    def denied(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    save_file({"w": np.ones(2)}, tmp_path / "w.safetensors")
    monkeypatch.setattr(safetensors_file, "read", denied)
    with pytest.raises(UsageError, match=r"the weights '.*' can't be read: Permission denied; check its permissions"):
        read(tmp_path / "w.safetensors")


def test_tensors_are_written_as_they_look_not_as_they_lie(tmp_path) -> None:
    """safetensors takes the memory of an array for its elements in order."""
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    write(of_mapping({"t": turned, "b": turned.astype(">f4")}), tmp_path / "w.safetensors")
    found = read(tmp_path / "w.safetensors").tensors
    assert np.array_equal(found["t"], turned)
    assert np.array_equal(found["b"], turned)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(job, tmp_path, save) -> None:
    plan, arrays, wanted = job
    arrays, wanted = ({k: a for k, a in w.items() if a.dtype != BRAIN} for w in (arrays, wanted))
    arrays["layer1.weight"], wanted["layer1.weight"] = (
        np.ones((r, 5), np.float32) for r in (8, wanted["layer1.bias"].size)
    )
    save(tmp_path / "w.npz", **arrays)
    spa_cli.apply_weights(plan, tmp_path / "w.npz", tmp_path / "small.npz")
    with np.load(tmp_path / "small.npz") as data:
        assert same(dict(data), wanted)
    compressed = {i.compress_type for i in zipfile.ZipFile(tmp_path / "small.npz").infolist()}
    assert compressed == {zipfile.ZIP_DEFLATED if save is np.savez_compressed else zipfile.ZIP_STORED}


def test_npz_with_names_that_numpy_takes_for_its_own(tmp_path) -> None:
    tensors = {"file": np.ones(2), "allow_pickle": np.ones(3), "a/b/kernel": np.ones(4)}
    write(of_mapping(tensors), tmp_path / "w.npz")
    assert same(read(tmp_path / "w.npz").tensors, tensors)


def test_from_one_format_to_another(job, tmp_path) -> None:
    plan, arrays, wanted = job
    save_file(arrays, tmp_path / "w.safetensors", metadata={"format": "pt", "note": "lost"})
    with pytest.raises(UsageError, match=r"'layer1\.weight' is bfloat16, which \.npz can't hold"):
        spa_cli.apply_weights(plan, tmp_path / "w.safetensors", tmp_path / "small.npz")
    assert not (tmp_path / "small.npz").exists()
    arrays, wanted = ({**w, "layer1.weight": w["layer1.weight"].astype(np.float32)} for w in (arrays, wanted))
    save_file(arrays, tmp_path / "w.safetensors", metadata={"format": "pt", "note": "lost"})
    result = spa_cli.apply_weights(plan, tmp_path / "w.safetensors", tmp_path / "small.npz")
    assert result.warnings == ["the metadata 'note' were left out, .npz has no place for them"]
    assert {k: a.tobytes() for k, a in read(tmp_path / "small.npz").tensors.items()} == {
        k: a.tobytes() for k, a in wanted.items()
    }
    back = spa_cli.apply_weights(plan, tmp_path / "w.safetensors", tmp_path / "again.safetensors", force=True)
    assert same({k: back.weights.tensors[k] for k in wanted}, wanted)
    with pytest.raises(UsageError, match=r"'z' is complex128, which \.safetensors can't hold"):
        write(of_mapping({"z": np.ones(2, np.complex128)}), tmp_path / "z.safetensors")


@pytest.mark.parametrize("name", ["w.safetensors", "w.npz", "w.txt", "w.npy"])
def test_files_that_can_not_be_read(job, tmp_path, name) -> None:
    plan = job[0]
    says = "its name has to end in" if name in ("w.txt", "w.npy") else "there is no weights file"
    with pytest.raises(UsageError, match=says):
        spa_cli.apply_weights(plan, tmp_path / name)
    for content in (b"", b"something else, and long enough to be looked at"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            UsageError,
            match="its name has to end in"
            if "has to" in says
            else r"is not an \.npz file, or is cut short|is not a safetensors file, or is cut short \(.*\); save",
        ):
            spa_cli.apply_weights(plan, tmp_path / name)


def test_npz_of_other_things(tmp_path) -> None:
    np.savez(tmp_path / "w.npz", a=np.array([{}], object))
    with pytest.raises(UsageError, match=r"'a' of .* can't be read \(.*\); save arrays of numbers only"):
        read(tmp_path / "w.npz")
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UsageError, match=r"'readme\.txt' of .* is no array"):
        read(tmp_path / "w.npz")
    zipfile.ZipFile(tmp_path / "w.npz", "w").close()
    with pytest.raises(UsageError, match="holds no tensors; save the model's parameters in it"):
        read(tmp_path / "w.npz")


@pytest.mark.parametrize(
    ("name", "library", "says"),
    [
        ("w.safetensors", "safetensors", "; install it in spa's own environment: pip install safetensors"),
        ("w.pt", "torch", "; install it in spa's own environment: pip install torch"),
    ],
)
def test_a_missing_library_is_named(job, tmp_path, monkeypatch, name, library, says) -> None:
    (tmp_path / name).write_bytes(b"something")
    for module in (library, f"{library}.numpy"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=says):
        spa_cli.apply_weights(job[0], tmp_path / name)


def test_nothing_is_left_behind_when_writing_fails(job, tmp_path, monkeypatch) -> None:
    plan, arrays, _ = job
    save_file(arrays, tmp_path / "w.safetensors")
    (tmp_path / "small.safetensors").write_bytes(b"old")

    def fail(*_args, **_kwargs) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(os.listdir(tmp_path))
    monkeypatch.setattr(safetensors_file, "write", fail)
    with pytest.raises(UsageError, match="No space left on device; choose another name"):
        spa_cli.apply_weights(plan, tmp_path / "w.safetensors", tmp_path / "small.safetensors", force=True)
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "small.safetensors").read_bytes() == b"old"


def test_arrays_from_memory_and_back(job) -> None:
    plan, arrays, wanted = job
    result = spa_cli.apply_weights(plan, arrays)
    assert same(result.weights.state, wanted)
    assert result.out is None
    with pytest.raises(UsageError, match="hold no tensors"):
        spa_cli.apply_weights(plan, {})
