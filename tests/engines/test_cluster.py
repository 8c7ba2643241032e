"""Work on the workers of a Dask cluster: the same, whoever does it and whatever becomes of them."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import spa_cli
from spa_cli import written
from spa_cli.engines import Asked, Job, engine_of
from spa_cli.engines.cluster import Cluster
from spa_cli.errors import ModelError, UsageError
from spa_cli.isolation import Bounds
from tests.cli.running import refused
from tests.samples import model_path

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.xdist_group("dask"), pytest.mark.filterwarnings("ignore::ResourceWarning")]

MODELS = ("digits_mlp", "digits_lstm")
ASKED = {"ratio": 0.3, "round_to": 1, "calib_samples": 32}


@pytest.fixture(scope="module")
def right(tmp_path_factory) -> dict[str, str]:
    """What one process makes."""
    return _made(tmp_path_factory.mktemp("one"), "here")


def _made(folder: Path, engine: str) -> dict[str, str]:
    """Digests of what becomes of several models."""
    for outcome in spa_cli.prune_many([model_path(n) for n in MODELS], folder / "out", engine=engine, **ASKED):
        assert outcome.error is None
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((folder / "out").iterdir())}


def _map(address: str, function: str, jobs: list[Job]) -> list[Any]:
    with engine_of(Asked.of(address), Bounds(), len(jobs)) as engine:
        return list(engine.map(f"tests.engines.jobs:{function}", jobs))


def test_two_workers_here_make_the_same_bytes(tmp_path, right) -> None:
    assert len(right) == len(MODELS)
    assert _made(tmp_path, "dask:2") == right


def test_so_does_a_cluster_of_which_a_worker_is_killed(tmp_path, right, cluster, address) -> None:
    killed = list[int]()

    def kill() -> None:
        with distributed.Client(cluster, set_as_default=False) as client:
            processes = client.run(os.getpid)
            while not (busy := [w for w, tasks in client.processing().items() if tasks]):
                time.sleep(0.05)
            # while it reads libraries, or works
            time.sleep(0.5)
            killed.append(processes[busy[0]])
            os.kill(killed[0], signal.SIGKILL)

    at_work = threading.Thread(target=kill)
    at_work.start()
    found = _made(tmp_path, address)
    at_work.join()
    assert found == right
    assert killed and killed[0] not in _pids(cluster)


def _pids(cluster: Any) -> set[int]:
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)
        return set(client.run(os.getpid).values())


def test_what_came_of_every_job_comes_in_order_with_what_was_written_and_said(tmp_path, address, caplog) -> None:
    made = _map(address, "doubled", [Job("", "", (n,)) for n in (1, 3, 2)])
    assert [m.value for m in made] == [2, None, 4]
    assert isinstance(made[1].error, ModelError) and str(made[1].error) == "there is no three; take another"
    file = str(tmp_path / "f")
    with written.noting() as files, caplog.at_level(logging.INFO, "spa_cli"):
        assert [m.value for m in _map(address, "told", [Job("", "", (file,))])] == [file]
    assert files == [Path(file)]
    assert [r.getMessage() for r in caplog.records if "written" in r.getMessage()] == [f"{file} was written"]
    assert "and noted" in caplog.text


def test_a_job_is_done_again_and_knows_it(tmp_path, address) -> None:
    file = str(tmp_path / "f")
    (made,) = _map(address, "kills_its_worker", [Job("m.onnx", "", (file,), (file, True))])
    assert (made.value, made.error) == ("again", None)


def test_one_that_ends_every_worker_is_a_sentence_about_its_file(address) -> None:
    (made,) = _map(address, "kills_every_worker", [Job("m.onnx", "", ())])
    assert isinstance(made.error, ModelError)
    says = "'m.onnx' ended 2 workers that it was given to, one after the other; prune it alone, or leave it out"
    assert str(made.error) == says


def test_a_crash_ends_a_child_and_no_worker(cluster, address) -> None:
    before = _pids(cluster)
    (made,) = _map(address, "crashes", [Job("m.onnx", "", ())])
    assert str(made.error).startswith("'m.onnx' ended the process that it was opened in (SIGSEGV); export it again")
    assert _pids(cluster) == before


def test_what_is_there_already_is_not_written_over(tmp_path, address) -> None:
    (tmp_path / "out").mkdir()
    for name in MODELS:
        (tmp_path / "out" / f"{name}.onnx").write_text("mine")
    models = [model_path(n) for n in MODELS]
    for outcome in spa_cli.prune_many(models, tmp_path / "out", engine=address, **ASKED):
        assert isinstance(outcome.error, UsageError) and "exists" in str(outcome.error)
    assert {p.read_text() for p in (tmp_path / "out").iterdir()} == {"mine"}


class Heavy:
    """Counts how often it leaves this process."""

    sent = 0

    def __reduce__(self) -> tuple[Any, ...]:
        Heavy.sent += 1
        return (int, (21,))


def test_what_all_jobs_share_travels_once(address) -> None:
    heavy = Heavy()
    made = _map(address, "added", [Job("", "", (heavy, n), (heavy, n)) for n in range(6)])
    assert [m.value for m in made] == [21 + n for n in range(6)]
    # Dask may pickle a task once more to see how large it is
    assert 0 < Heavy.sent <= 2


def test_an_interrupt_cancels_what_is_not_done(tmp_path, cluster, address) -> None:
    files = [str(tmp_path / f"{n}") for n in range(40)]
    with pytest.raises(KeyboardInterrupt), Cluster(Asked.of(address), Bounds(), 2) as engine:
        for _ in engine.map("tests.engines.jobs:slow", [Job("", "", (f,)) for f in files]):
            raise KeyboardInterrupt
    with distributed.Client(cluster, set_as_default=False) as client:
        for _ in range(100):
            if not any(client.processing().values()):
                break
            time.sleep(0.05)
        assert not any(client.processing().values())
    assert len(list(tmp_path.iterdir())) < len(files)


def test_a_cluster_that_is_not_there(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.engines.reach._REACH", "1s")
    with pytest.raises(UsageError, match=r"no Dask cluster answers at 'dask://127.0.0.1:9' .*; run 'dask scheduler'"):
        _made(tmp_path, "dask://127.0.0.1:9")
    assert not (tmp_path / "out").exists()


class _Fails:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def result(self) -> None:
        raise self._error


def test_a_cluster_that_is_lost_and_a_worker_that_lacks_something(address) -> None:
    job = Job("m.onnx", "", ())
    with Cluster(Asked.of(address), Bounds(), 2) as engine:
        with pytest.raises(
            UsageError, match=r"the Dask cluster of 'dask://.*' was lost \(gone\); run it again, and the"
        ):
            engine._result(job, _Fails(OSError("gone")))
        made, _, _ = engine._result(job, _Fails(ModuleNotFoundError("No module named 'spa_cli'")))
    assert "failed with 'm.onnx' (ModuleNotFoundError, No module named 'spa_cli'); give workers the" in str(made.error)


def test_with_certificates_as_dask_is_configured(tmp_path) -> None:
    import dask

    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = str(tmp_path / "k.pem"), str(tmp_path / "c.pem")
    request = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=spa")
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls, roles = "distributed.comm.tls", ("client", "scheduler", "worker")
    known = {f"{tls}.{role}.{name}": file for role in roles for name, file in (("key", key), ("cert", certificate))}
    with (
        dask.config.set({f"{tls}.ca-file": certificate, "distributed.comm.default-scheme": "tls", **known}),
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
            protocol="tls://",
            security=distributed.Security(),
        ) as cluster,
    ):
        there = "dask://" + cluster.scheduler_address.removeprefix("tls://")
        assert cluster.scheduler_address.startswith("tls://")
        assert [m.value for m in _map(there, "doubled", [Job("", "", (2,))])] == [4]


def test_without_dask_it_is_said_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(
        UsageError, match=r"engine dask needs Dask .*; install it in spa's own environment: pip install"
    ):
        _made(tmp_path, "dask")


def test_what_makes_no_sense_is_refused(tmp_path) -> None:
    model = tmp_path / "m.onnx"
    shutil.copy(model_path("digits_mlp"), model)
    asked = ("-o", tmp_path / "o", "--ratio", 0.3, "--engine", "dask")
    assert "--no-isolate can't be used with --engine dask" in refused(2, "prune", model, model, *asked, "--no-isolate")


def _swept(folder: Path, engine: str) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Points but for what is timed, and the models kept."""
    options = {"by": "params", "points": "0.8,0.6,0.1", "method": "l2", "round_to": 1}
    options |= {"keep_models": True, "max_group_ratio": 0.6}
    found = spa_cli.sweep(model_path("digits_mlp"), folder, engine=engine, **options)
    points = [{k: v for k, v in vars(p).items() if k not in ("seconds", "latency")} for p in found.points]
    return points, {p.name: p.read_bytes() for p in folder.glob("*.onnx")}


def test_a_sweep_finds_the_same(tmp_path, address) -> None:
    here = _swept(tmp_path / "a", "here")
    assert _swept(tmp_path / "b", address) == here
    assert (len(here[1]), [bool(p["refused"]) for p in here[0]]) == (2, [False, False, True])
    # and it goes on
    assert _swept(tmp_path / "b", address) == here


def test_a_sweep_that_can_not_be_spread_is_refused(tmp_path, address) -> None:
    import onnx

    with pytest.raises(UsageError, match=r"a model in memory can't go to the workers of engine .*; save it to a file"):
        spa_cli.sweep(onnx.load(model_path("digits_mlp")), tmp_path / "s", method="l2", engine=address)
    with pytest.raises(UsageError, match=r"by latency can't be used with engine dask: what is timed while others"):
        spa_cli.sweep(model_path("digits_mlp"), tmp_path / "s", by="latency", engine="dask")
