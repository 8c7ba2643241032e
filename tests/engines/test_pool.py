"""Pieces of one piece of work: the same here and on workers, and what becomes of those that are not done."""

from __future__ import annotations

import os
import time

import pytest

from spa_cli.engines import Asked
from spa_cli.engines.pool import Alone, Threads, ahead, pool, spreading
from spa_cli.errors import ModelError, SpreadError
from spa_cli.threads import cores
from tests.engines import pieces

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.xdist_group("dask"), pytest.mark.filterwarnings("ignore::ResourceWarning")]


def _pieces() -> list[object]:
    """What pieces of all kinds give."""
    at = pool()
    one, many = at.send(20), [at.call(pieces.added, at.send(n), 1) for n in range(4)]
    every = at.each(pieces.counted, 3)
    return [at.get(at.call(pieces.added, one, many[3])), *map(at.get, many), list(at.get(every))]


def test_pieces_give_the_same_here_and_there(address) -> None:
    assert isinstance(pool(), Alone)
    here = _pieces()
    assert here == [24, 1, 2, 3, 4, [0, 1, 2]]
    with spreading(Asked.of(address)):
        assert _pieces() == here
        assert pool().get(pool().call(pieces.process)) != os.getpid()
    with spreading(Asked.of("here")):
        assert pool().get(pool().call(pieces.process)) == os.getpid()


def test_what_is_made_of_one_thing_goes_once(address) -> None:
    made, one, other = list[int](), object(), object()
    with spreading(Asked.of(address)):
        found = [pool().once(of, lambda _: made.append(1) or 20 + len(made)) for of in (one, other, one)]
        assert [pool().get(f) for f in found] == [21, 22, 21]
    assert [pool().once(one, lambda _: 5), pool().once(one, lambda _: 6), pool().once(7)] == [5, 6, 7]


def test_without_others_nothing_is_made_before_it_is_asked_for() -> None:
    begun = list[int]()
    for n in ahead((begun.append(n) or n for n in range(3)), Alone()):
        assert begun == list(range(n + 1))


def test_here_as_many_are_under_way_as_there_are_cores_and_room(monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.engines.pool.cores", lambda: 2)
    for room, expected in ((9, [3, 4, 5, 5, 5]), (1, [2, 3, 4, 5, 5]), (-1, [1, 2, 3, 4, 5])):
        begun = list[int]()
        found = [len(begun) for _ in ahead((begun.append(n) or n for n in range(5)), Threads(), room)]
        assert found == expected


def test_within_a_piece_there_is_one_after_the_other() -> None:
    at = Threads()
    assert isinstance(at.get(at.call(pool)), Alone) and not isinstance(at.get(at.call(pool)), Threads)
    assert isinstance(pool(), Threads) == (cores() > 1)


def test_workers_have_something_to_go_on_with(address) -> None:
    begun = list[int]()
    with spreading(Asked.of(address)):
        pool().get(pool().send(1))
        found = [(n, len(begun)) for n in ahead(begun.append(n) or n for n in range(5))]
    assert found == [(0, 3), (1, 4), (2, 5), (3, 5), (4, 5)]


def test_a_piece_that_fails_says_what_it_would_have_said_here(address) -> None:
    for engine in ("here", address):
        with spreading(Asked.of(engine)):
            with pytest.raises(ModelError, match=r"^there is none$"):
                pool().get(pool().call(pieces.fails, "there is none"))
            with pytest.raises(FileNotFoundError, match="a file that is not there"):
                pool().get(pool().call(pieces.fails, ""))


def test_what_went_with_a_worker_is_made_again(tmp_path, address) -> None:
    with spreading(Asked.of(address)):
        first = pool().call(pieces.added, pool().send(1), 2)
        last = pool().call(pieces.kills_its_worker, str(tmp_path / "f"))
        assert pool().get(last) == "again"
        assert pool().get(pool().call(pieces.added, first, 4)) == 7


def test_one_that_ends_every_worker_is_a_sentence(address) -> None:
    says = r"a piece of the work ended 2 workers of --engine dask://.*, one after the other; prune it without"
    with spreading(Asked.of(address)), pytest.raises(SpreadError, match=says):
        pool().get(pool().call(pieces.kills_every_worker))


def test_a_cluster_that_goes_away_is_a_sentence(monkeypatch) -> None:
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
    ):
        there = "dask://" + cluster.scheduler_address.removeprefix("tcp://")
        with (
            pytest.raises(SpreadError, match=r"the Dask cluster of --engine dask://.* was lost .*; run it again"),
            spreading(Asked.of(there)),
        ):
            slow = pool().call(time.sleep, 60)
            cluster.close()
            pool().get(slow)


def test_workers_that_would_give_something_else_are_refused(monkeypatch, address) -> None:
    from spa_cli.engines import spread

    with monkeypatch.context() as patch:
        patch.setattr(spread, "__version__", "0.0")
        says = r"a worker of --engine dask://.* has spa .*, and here it is 0.0; give workers the same spa"
        with spreading(Asked.of(address)), pytest.raises(SpreadError, match=says):
            pool().send(1)
    with distributed.Client(address.removeprefix("dask://"), set_as_default=False) as client:
        client.run(pieces.threads, "4")
        says = "has no OPENBLAS_NUM_THREADS of 1, and sums that threads share are rounded otherwise; run it with"
        try:
            with spreading(Asked.of(address)), pytest.raises(SpreadError, match=says):
                pool().send(1)
        finally:
            client.run(pieces.threads, "1")


def test_workers_that_do_not_know_spa_are_refused(monkeypatch, address) -> None:
    def unknown() -> None:
        raise ModuleNotFoundError("No module named 'spa_cli'")

    monkeypatch.setattr("spa_cli.engines.spread.about_here", unknown)
    says = r"a worker of --engine dask://.* does not know spa \(ModuleNotFoundError, .*; give workers the same spa and"
    with spreading(Asked.of(address)), pytest.raises(SpreadError, match=says):
        pool().send(1)


def test_workers_that_had_nothing_to_do_are_no_secret(address, caplog) -> None:
    with caplog.at_level("INFO", "spa_cli"), spreading(Asked.of(address)):
        pass
    assert "nothing was there for the workers of --engine dask://" in caplog.text
