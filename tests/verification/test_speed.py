"""What takes longer than it did is said, also beside the original as tidying alone leaves it."""

from __future__ import annotations

import json

import onnx
import pytest

import spa_cli
from spa_cli.runtime.timing import Timing
from tests.builders import build, with_initializer_inputs
from tests.cli.running import spa

ASKED = {"ratio": 0.25, "method": "l1"}


def listed() -> onnx.ModelProto:
    """Weights are inputs, too."""
    text = "(float[N,5] x) => (y) { a = MatMul(x, wa)\n r = Relu(a)\n y = MatMul(r, wb) }"
    model = with_initializer_inputs(build(text, wa=(5, 8), wb=(8, 3)))
    model.ir_version = 8
    return model


@pytest.fixture
def seconds(monkeypatch) -> dict[str, float]:
    """What is timed takes so long: the original, what tidying leaves of it, the result."""
    found = {"original": 4.0, "tidied": 1.0, "result": 2.0}

    def latency(before, after, *_, **__) -> Timing:
        first = found["tidied" if isinstance(before, onnx.ModelProto) else "original"]
        return Timing(first, found["result"], first, found["result"])

    for module in ("spa_cli.verification.speed", "spa_cli.trial.trials"):
        monkeypatch.setattr(f"{module}.latency", latency)
    return found


def beside(result: spa_cli.result.Result) -> list[tuple[bool, float]]:
    return [(one.tidied, one.timing.left) for one in result.timings if (one.threads, one.batch) == (None, 1)]


def test_a_result_that_tidying_alone_would_beat_says_so(seconds) -> None:
    result = spa_cli.prune(listed(), **ASKED)
    assert beside(result) == [(False, 0.5), (True, 2.0)]
    assert result.slower == (
        "the result takes 2.00 of the time that the original takes once tidy=True has taken its weights off the "
        "inputs; give tidy=True, too"
    )
    seconds["result"] = 0.8
    assert spa_cli.prune(listed(), **ASKED).slower == ""


def test_what_tidying_saved_makes_up_for_no_width(seconds) -> None:
    result = spa_cli.prune(listed(), tidy=True, **ASKED)
    assert beside(result) == [(False, 0.5), (True, 2.0)]
    assert result.slower.startswith("the result takes 2.00 of the time that tidying alone leaves")
    assert result.slower.endswith("; ask for less with target_latency")


def test_a_model_with_nothing_to_tidy_is_compared_with_itself_alone(seconds) -> None:
    model = listed()
    del model.graph.input[1:]
    seconds["result"] = 3.0
    result = spa_cli.prune(model, **ASKED)
    assert beside(result) == [(False, 0.75)]
    assert result.slower == ""


def test_commands_say_it_first_and_show_both(tmp_path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(listed(), path)
    said = "warning: 2 weights are also inputs, so that onnxruntime may neither fold nor fuse them"
    assert spa("inspect", path).err.startswith(said)
    assert "tidy=True" in spa_cli.inspect(path)._repr_html_()
    asked = ("--ratio", 0.25, "--method", "l1")
    ran = spa("prune", path, *asked, "-o", tmp_path / "s.onnx", "-v")
    lines = ran.err.splitlines()
    (first,) = [at for at, line in enumerate(lines) if " s  2 weights are also inputs" in line]
    assert first < next(at for at, line in enumerate(lines) if "scoring channels" in line)
    assert " of the tidied original's" in ran.out
    report = json.loads(spa("prune", path, *asked, "--tidy", "-o", tmp_path / "t.onnx", "--json").out)
    assert [one["beside"] for one in report["timings"]][:2] == ["original", "tidied original"]
