"""Two runs at once, of the same output or with the same cache: one comes while the other is at work.

``make faults`` does the same with processes that begin at random moments.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spa_cli.progress import LOG
from tests.cli.running import Ran, contents, spa
from tests.graph.files import dense, save_external
from tests.samples import model_path

MLP = model_path("digits_mlp")
L1 = ("--ratio", 0.3, "--method", "l1")
# when the other comes: the outputs have been looked at, nothing is written
MOMENT = "scoring channels"


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@contextmanager
def meanwhile(other: Callable[[], object]) -> Iterator[list[object]]:
    """``other`` is called once inside, when a run is half done; what it gave."""
    gave: list[object] = []

    class Calling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if MOMENT in record.getMessage():
                LOG.removeHandler(handler)
                gave.append(other())

    handler = Calling()
    LOG.addHandler(handler)
    try:
        yield gave
    finally:
        LOG.removeHandler(handler)


def _both(first: list[object], second: list[object]) -> tuple[Ran, Ran]:
    with meanwhile(lambda: spa(*second)) as gave:
        ran = spa(*first)
    (other,) = gave
    assert isinstance(other, Ran)
    return ran, other


@pytest.mark.parametrize("external", [False, True])
def test_of_two_that_write_the_same_output_one_fails_and_nothing_is_mixed(external, tmp_path, temporary) -> None:
    model, out = MLP, tmp_path / "out"
    out.mkdir()
    if external:
        model = tmp_path / "m.onnx"
        save_external(dense(64), model)
    first = ["prune", model, "-o", out / "s.onnx", "--plan-out", out / "p.json", *L1]
    second = ["prune", model, "-o", out / "s.onnx", "--plan-out", out / "p.json", "--ratio", 0.5, "--method", "l1"]
    assert spa(*second).code == 0
    alone = contents(out)
    for file in out.iterdir():
        file.unlink()
    ran, other = _both(first, second)
    assert (ran.code, other.code) == (2, 0)
    assert "exists now, somebody else made it meanwhile; use --force to replace it" in ran.err
    assert contents(out) == alone
    assert list(temporary.iterdir()) == []


def test_with_force_the_last_one_stays_whole(tmp_path, temporary) -> None:
    model, out = tmp_path / "m.onnx", tmp_path / "out"
    save_external(dense(64), model)
    out.mkdir()
    first, second = (
        ["prune", model, "-o", out / "s.onnx", "--ratio", r, "--method", "l1", "--force"] for r in (0.3, 0.5)
    )
    assert spa(*first).code == 0
    alone = contents(out)
    ran, other = _both(first, second)
    assert (ran.code, other.code) == (0, 0)
    assert contents(out) == alone
    assert list(temporary.iterdir()) == []


def test_two_that_share_a_cache_keep_one_result_and_both_have_it(tmp_path, temporary) -> None:
    outs, cache = [tmp_path / "a.onnx", tmp_path / "b.onnx"], tmp_path / "cache"
    ran, other = _both(*(["prune", MLP, "-o", out, "--cache", cache, *L1] for out in outs))
    assert (ran.code, other.code) == (0, 0)
    assert "could not be cached" not in ran.err + other.err
    assert outs[0].read_bytes() == outs[1].read_bytes()
    (entry,) = cache.iterdir()
    third = spa("prune", MLP, "-o", tmp_path / "c.onnx", "--cache", cache, *L1)
    assert third.code == 0
    assert (tmp_path / "c.onnx").read_bytes() == outs[0].read_bytes()
    assert [p.name for p in cache.iterdir()] == [entry.name]
    assert list(temporary.iterdir()) == []


def test_a_cache_that_is_removed_meanwhile_costs_nothing_but_itself(tmp_path, temporary) -> None:
    cache = tmp_path / "cache"
    with meanwhile(cache.rmdir):
        ran = spa("prune", MLP, "-o", tmp_path / "a.onnx", "--cache", cache, *L1)
    assert ran.code == 0, ran.err
    assert f"warning: this could not be cached in '{cache}': " in ran.err
    assert list(temporary.iterdir()) == []
