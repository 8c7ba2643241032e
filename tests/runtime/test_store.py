"""What does not fit in memory lies on disk, and comes back as it was."""

from __future__ import annotations

import pickle

import numpy as np

from spa_cli.runtime.store import Store


def test_what_does_not_fit_lies_on_disk_until_it_is_freed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    arrays = [np.full((4, 5), i, np.float32)[:, ::2] for i in range(4)]
    store = Store(2 * arrays[0].nbytes)
    kept = [store.put(a) for a in arrays]
    (folder,) = tmp_path.iterdir()
    assert (len([*folder.iterdir()]), store.spilled) == (2, 2 * arrays[0].nbytes)
    for array, one in zip(arrays, kept, strict=True):
        assert one.shape == array.shape
        np.testing.assert_array_equal(one.get(), array)
    kept[0].free()
    kept[3].free()
    assert len([*folder.iterdir()]) == 1
    # there is room again
    assert store.put(arrays[0]).get() is arrays[0]
    del store, kept, one
    assert [*tmp_path.iterdir()] == []


def test_where_nothing_can_be_written_it_stays_in_memory(monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    store = Store(0)
    np.testing.assert_array_equal(store.put(np.ones(3)).get(), np.ones(3))


def test_lists_and_texts_stay_as_they_are() -> None:
    store = Store(0)
    words, several = np.array(["a", None], object), [np.ones(2), np.ones(3)]
    assert store.put(words).get() is words
    assert store.put(several).get() is several
    assert store.spilled == 0
    assert isinstance(store.put(np.zeros(0)).get(), np.ndarray)


def test_what_is_kept_travels_and_is_gone_with_what_holds_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    store = Store(0)
    kept = store.put(array)
    there = pickle.loads(pickle.dumps(kept))
    np.testing.assert_array_equal(there.get(), array)
    assert kept.__sizeof__() >= array.nbytes
    files = [*tmp_path.rglob("*")]
    del there
    assert len([*tmp_path.rglob("*")]) == len(files) - 1
    held = Store(1000)
    one = held.put(array)
    assert held.used == array.nbytes
    one.free()
    del one
    assert held.used == 0
