"""One model on several workers: the bytes of one process, whatever becomes of a worker."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.analysis import analyse_model
from spa_cli.checkpoints import Checkpoints
from spa_cli.engines import Asked
from spa_cli.engines.pool import spreading
from spa_cli.errors import SpreadError
from spa_cli.obspa import collect as collecting
from spa_cli.obspa.layers import find_layers
from spa_cli.obspa.positions import Positions
from spa_cli.obspa.sensitivity import sensitivity
from spa_cli.runtime.load import load
from tests.architectures import decoder
from tests.cli.running import refused
from tests.samples import model_path

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.xdist_group("dask"), pytest.mark.filterwarnings("ignore::ResourceWarning")]
RNG = np.random.default_rng(0)
# three chunks of samples
SAMPLES = 150


def _model(kind: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """A network, and what is asked of it."""
    if kind == "convolutions":
        return model_path("digits_resnet"), {"ratio": 0.3, "round_to": 1, "calib_samples": SAMPLES}
    file, ids = folder / "decoder.onnx", folder / "ids.npz"
    onnx.save(decoder(1, "random", head=16, width=64, words=120, length=12), file)
    np.savez(ids, input_ids=np.random.default_rng(0).integers(0, 120, (SAMPLES, 12)))
    return file, {"target_params": 0.8, "round_to": 1, "calib": ids}


def _pruned(model: Path, asked: dict[str, Any], out: Path, **how: Any) -> bytes:
    spa_cli.prune(model, out, force=True, **asked, **how)
    return out.read_bytes()


@pytest.fixture(scope="module", params=["convolutions", "transformer"])
def right(request, tmp_path_factory) -> tuple[Path, dict[str, Any], bytes]:
    """A network, what is asked of it, and what one process makes."""
    folder = tmp_path_factory.mktemp("one")
    model, asked = _model(request.param, folder)
    return model, asked, _pruned(model, asked, folder / "here.onnx")


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_here_make_the_same_bytes(workers, right, tmp_path) -> None:
    model, asked, expected = right
    assert _pruned(model, asked, tmp_path / "o.onnx", engine=f"dask:{workers}") == expected


def test_so_does_a_cluster_of_which_a_worker_is_killed(right, tmp_path, cluster, address) -> None:
    model, asked, expected = right
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)
        before = client.run(os.getpid)

        def kill() -> None:
            while not (busy := [w for w, tasks in client.processing().items() if any("gathered" in t for t in tasks)]):
                time.sleep(0.002)
            os.kill(before[busy[0]], signal.SIGKILL)

        at_work = threading.Thread(target=kill, daemon=True)
        at_work.start()
        found = _pruned(model, asked, tmp_path / "o.onnx", engine=address)
        at_work.join(30)
        client.wait_for_workers(2, timeout=30)
        assert set(client.run(os.getpid).values()) != set(before.values())
    assert found == expected


def _measured(name: str, chunks: list[dict[str, Any]], engine: str, kept: Checkpoints) -> dict[str, Any]:
    source = load(model_path(name))
    analysis = analyse_model(source, {})
    graph, shapes = analysis.graph, analysis.state.shapes
    given = [{next(iter(graph.inputs)): next(iter(c.values()))} for c in chunks]
    with spreading(Asked.of(engine)):
        found = collecting.collect(graph, shapes, find_layers(graph, shapes), given, Positions(0), kept=kept)
    return {f"{key}/{n}": value for key, one in found.items() for n, value in one.packed().items()}


def _equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], name)


@pytest.mark.parametrize("room", [1e9, 1e6], ids=["in one run", "stretch by stretch"])
@pytest.mark.parametrize("name", ["digits_resnet", "digits_lstm"])
def test_statistics_are_the_same_array_by_array(name, room, monkeypatch, address, samples_of) -> None:
    monkeypatch.setattr(collecting, "portion", lambda share: room)
    chunks = samples_of(name)
    here = _measured(name, chunks, "here", Checkpoints())
    assert len(here) > 3
    _equal(_measured(name, chunks, address, Checkpoints()), here)


@pytest.fixture
def samples_of() -> Any:
    """Chunks of several sizes: the first gives layers rows enough, others do not."""

    def make(name: str) -> list[dict[str, Any]]:
        given = np.load(model_path(name).with_name(f"{name}_calib.npz"))
        array = given[given.files[0]].astype(np.float32)
        return [{"": part} for part in np.split(array[:237], [64, 128, 133, 173])]

    return make


def test_statistics_that_one_process_began_are_gone_on_with(tmp_path, monkeypatch, address, samples_of) -> None:
    monkeypatch.setattr(collecting, "portion", lambda share: 1e6)
    chunks, kept = samples_of("digits_resnet"), Checkpoints(tmp_path)
    here = _measured("digits_resnet", chunks, "here", kept)
    parts = sorted(tmp_path.glob("statistics-*"), key=lambda f: int(f.stem.split("-")[1]))
    assert len(parts) > 2
    done = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for first, other in (("here", address), (address, "here")):
        # stopped in the last stretch, which goes on with what the one before it left
        for file in tmp_path.iterdir():
            file.unlink()
        with monkeypatch.context() as patch, pytest.raises(_Stopped):
            patch.setattr(collecting, "_keep", _stopping(len(parts) - 1))
            _measured("digits_resnet", chunks, first, kept)
        assert {f.name for f in tmp_path.iterdir()} != done.keys()
        _equal(_measured("digits_resnet", chunks, other, kept), here)
        assert {file.name for file in tmp_path.iterdir()} == done.keys()


class _Stopped(Exception):
    """In the middle of it."""


def _stopping(last: int) -> Any:
    keep = collecting._keep

    def stop(kept: Checkpoints, number: int, *rest: Any) -> None:
        if number == last:
            raise _Stopped
        keep(kept, number, *rest)

    return stop


def test_what_outputs_feel_is_the_same(tmp_path, address) -> None:
    file, _ = _model("transformer", tmp_path)
    analysis = analyse_model(load(file), {})
    graph, shapes = analysis.graph, analysis.state.shapes
    layers = find_layers(graph, shapes)
    chunks = [{next(iter(graph.inputs)): RNG.integers(0, 120, (n, 12))} for n in (8, 8, 3)]
    found = []
    for engine in ("here", address):
        with spreading(Asked.of(engine)):
            found.append(sensitivity(graph, shapes, layers, chunks, 0))
    assert found[0].metric and found[0].chances and not found[0].missing
    _equal(found[1].packed(), found[0].packed())


@pytest.mark.parametrize("mapped", [False, True], ids=["read in", "mapped"])
def test_weights_beside_the_model_are_found_where_it_lies(mapped, tmp_path, monkeypatch, address) -> None:
    model, asked = _model("transformer", tmp_path)
    file = Path(tmp_path / "beside.onnx")
    onnx.save(onnx.load(model), file, save_as_external_data=True, location="beside.data", size_threshold=256)
    if mapped:
        monkeypatch.setattr("spa_cli.graph.model.MAPPED", 1000)
    # as it is called from there
    monkeypatch.chdir(tmp_path)
    made = []
    for engine in ("here", address):
        out = tmp_path / engine[:4]
        out.mkdir()
        spa_cli.prune(file.name, out / "o.onnx", engine=engine, **asked)
        made.append([f.read_bytes() for f in sorted(out.iterdir())])
    assert made[0] == made[1]
    assert len(made[0]) == 2


def test_work_goes_on_with_another_engine(tmp_path, monkeypatch, address) -> None:
    model, asked = _model("convolutions", tmp_path)
    expected = _pruned(model, asked, tmp_path / "whole.onnx")

    def stop(*_: object, **__: object) -> None:
        raise _Stopped

    with monkeypatch.context() as patch:
        patch.setattr("spa_cli.trial.trials.Trials.repair", stop)
        with pytest.raises(_Stopped):
            _pruned(model, asked, tmp_path / "o.onnx", engine=address, work=tmp_path / "work")
    assert [*(tmp_path / "work").glob("ranking-*")]
    with monkeypatch.context() as patch:
        # nothing is measured twice
        patch.setattr("spa_cli.obspa.rank._ranked", stop)
        assert _pruned(model, asked, tmp_path / "o.onnx", work=tmp_path / "work") == expected


def test_workers_that_would_give_something_else_end_the_command(tmp_path, monkeypatch, address) -> None:
    """Layers are scored without directions where the network does not run; not where workers don't."""
    model, asked = _model("transformer", tmp_path)
    monkeypatch.setattr("spa_cli.engines.spread.__version__", "0.0")
    with pytest.raises(SpreadError, match=r"and here it is 0\.0; give workers the same spa"):
        _pruned(model, asked, tmp_path / "o.onnx", engine=address)
    assert not (tmp_path / "o.onnx").exists()


def test_what_looks_at_no_samples_is_refused(tmp_path) -> None:
    asked = ("-o", tmp_path / "o.onnx", "--ratio", 0.3, "--method", "l2", "--engine", "dask:2")
    said = refused(2, "prune", model_path("digits_mlp"), *asked)
    assert "--engine dask:2 spreads what is measured of a model on samples, which --method l2 does not look at" in said


def test_a_sample_that_it_does_not_take_is_said_as_in_one_process(tmp_path, address) -> None:
    model, asked = _model("transformer", tmp_path)
    np.savez(tmp_path / "ids.npz", input_ids=np.full((SAMPLES, 12), 10_000))
    said = []
    for engine in ("here", address):
        with pytest.raises(spa_cli.SpaError) as raised:
            _pruned(model, asked, tmp_path / "o.onnx", engine=engine)
        said.append(str(raised.value))
    assert said[0] == said[1]
