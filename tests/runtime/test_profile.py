"""Where a model spends its time."""

from __future__ import annotations

import numpy as np

from spa_cli.runtime.profile import _counted, profile
from spa_cli.runtime.turns import Run
from tests.builders import build

NET = "(float[N,5] x) => (y) { h = MatMul(x, wa)\n r = Relu(h)\n y = MatMul(r, wb) }"


def test_of_every_node_the_seconds_of_a_run() -> None:
    models = [(build(NET, wa=(5, width), wb=(width, 3)), "") for width in (8, 4096)]
    x = np.ones((64, 5), np.float32)
    narrow, wide = profile(models, [{"x": x, "of no use": x}] * 2, {"MatMul", "Gemm"}, 0.1)
    assert narrow.nodes.keys() & wide.nodes.keys() >= {"MatMul_h", "MatMul_y"}
    assert wide.nodes["MatMul_h"] > 3 * narrow.nodes["MatMul_h"] > 0


def _event(name: str, start: int, duration: int) -> dict[str, object]:
    return {"name": name, "ts": start, "dur": duration}


def test_what_was_written_down_in_runs_that_do_not_count_is_left_out() -> None:
    runs = [_event("model_run", start, 90) for start in (100, 200, 300)]
    kernels = [_event(f"k{start}", start, 5) for start in (10, 110, 195, 210, 290, 310, 395)]
    # onnxruntime writes a run down when it is over
    events = [*kernels[:3], runs[0], *kernels[3:5], runs[1], *kernels[5:], runs[2]]
    took = [Run(1.0, counts=False), Run(1.0, counts=True), Run(1.0, counts=False), Run(1.0, counts=True)]
    assert [event["name"] for event in _counted(events, took) if event["name"] != "model_run"] == ["k210", "k290"]
