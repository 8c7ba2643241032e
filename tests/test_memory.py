"""All samples, in as little memory as is allowed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli import memory
from spa_cli.errors import UsageError
from spa_cli.memory import allowing, more_than_fits, working_memory
from spa_cli.options import Options
from spa_cli.runtime.store import Store
from tests.builders import build, doubts

# 24 x 24 positions, then 6 x 6, then one
NETWORK = """(float[N,3,24,24] x) => (float[N,5] y) {
  a = Conv<pads=[1,1,1,1]>(x, wa, ba)  b = Relu(a)  p = MaxPool<kernel_shape=[4,4], strides=[4,4]>(b)
  c = Conv<pads=[1,1,1,1]>(p, wc, bc)  d = Relu(c)  e = Conv(d, we, be)  f = Relu(e)
  g = GlobalAveragePool(f)  h = Flatten(g)  y = Gemm(h, wy, by)
}"""
WEIGHTS = {
    "wa": (24, 3, 3, 3),
    "ba": (24,),
    "wc": (24, 24, 3, 3),
    "bc": (24,),
    "we": (32, 24, 1, 1),
    "be": (32,),
    "wy": (32, 5),
    "by": (5,),
}


@pytest.fixture
def calib(tmp_path) -> str:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 3, 24, 24)) @ rng.normal(size=(24, 24)) / 5
    np.savez(tmp_path / "x.npz", x=x.astype(np.float32))
    return str(tmp_path / "x.npz")


def weights(model: onnx.ModelProto) -> list[np.ndarray]:
    return [onnx.numpy_helper.to_array(t) for t in model.graph.initializer]


def test_in_little_memory_the_result_is_the_same_and_every_sample_is_used(calib, tmp_path, monkeypatch) -> None:
    model = build(NETWORK, **WEIGHTS)
    stores: list[Store] = []
    made = Store.__init__
    monkeypatch.setattr(Store, "__init__", lambda store, limit: (stores.append(store), made(store, limit))[1])
    # chunks are a share of the memory: both get the same
    monkeypatch.setattr("spa_cli.calibration.chunks._CHUNK_BYTES", 200_000)
    free = spa_cli.prune(model, tmp_path / "free.onnx", target_macs=0.6, calib=calib)
    assert not any(store.spilled for store in stores)
    stores.clear()
    most = []
    put = Store.put
    monkeypatch.setattr(Store, "put", lambda store, value: (put(store, value), most.append(store.used))[0])
    # what the second layer reads and gives: twice 140 samples of 3.5 kB in both networks
    bound = spa_cli.prune(model, tmp_path / "bound.onnx", target_macs=0.6, calib=calib, memory="2MB")
    assert sum(store.spilled for store in stores) > 300_000
    assert max(most) <= 1_000_000
    assert bound.plan.about["repair"]["calibration"].startswith("140 samples of ")
    assert bound.plan.about["repair"] == free.plan.about["repair"]
    assert doubts(bound) == doubts(free) == []
    for one, other in zip(*(weights(onnx.load(tmp_path / f"{n}.onnx")) for n in ("free", "bound")), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("given", "found"),
    [("4GB", 4 * 10**9), ("1.5 gb", 1_500_000_000), ("512MiB", 2**29), ("300k", 300_000), (12345, 12345), (None, None)],
)
def test_sizes(given, found) -> None:
    assert Options(memory=given).memory == found


@pytest.mark.parametrize("given", ["much", "-3GB", "0", 0, "4XB", "GB"])
def test_no_size(given) -> None:
    with pytest.raises(UsageError, match=f"--memory '{given}' is no size; write one like 4GB or 500MB"):
        Options(memory=given)


def test_what_is_allowed_is_what_there_is() -> None:
    suggested = working_memory()
    with allowing(3_000_000_000):
        assert working_memory() == 3_000_000_000
        assert more_than_fits() == "more than 3.0 GB, what --memory allows"
        with allowing(None):
            assert working_memory() == suggested
    assert "a quarter of this machine's memory" in more_than_fits()
    assert memory.working_memory() == suggested


@pytest.mark.parametrize(
    ("limit", "options", "says"),
    [
        (60 * 24 * 24 * 24 * 40.0, {}, "a pass over all would take more than"),
        (None, {"memory": 2 * 4 * 3 * 24 * 24 * 50}, "all would take more than 0.0 GB, what memory allows"),
    ],
)
def test_fewer_samples_than_were_given_are_never_used_in_silence(limit, options, says, calib, monkeypatch) -> None:
    model = build(NETWORK, **WEIGHTS)
    if limit:
        monkeypatch.setattr("spa_cli.calibration.chunks._TOTAL_MACS", limit)
    data = dict(np.load(calib))
    result = spa_cli.prune(model, target_macs=0.7, calib=lambda: data, **options)
    (warning,) = (w for w in doubts(result) if "are used" in w)
    used = int(warning.split()[0])
    assert 4 <= used < 140
    assert warning.startswith(f"{used} of 140 samples of 1x3x24x24 are used: {says}")
    assert result.plan.about["repair"]["calibration"].startswith(f"{used} samples of ")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't bound memory")
def test_what_a_process_may_take_is_what_there_is() -> None:
    """As a child is told by --memory-limit: samples and activations then take a part of that."""
    code = (
        "import resource; resource.setrlimit(resource.{}, (3 << 30, -1)); from spa_cli import memory; print(memory.{})"
    )
    for limit in ("RLIMIT_DATA", "RLIMIT_AS"):
        ran = subprocess.run(
            [sys.executable, "-c", code.format(limit, "working_memory()")], capture_output=True, text=True, check=True
        )
        assert int(ran.stdout) == (3 << 30) // 4
