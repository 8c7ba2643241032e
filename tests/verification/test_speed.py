"""What takes longer than it did is said, also beside the original as tidying alone leaves it."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.devices import store
from spa_cli.runtime.profile import _session
from spa_cli.runtime.session import open_session
from spa_cli.runtime.timed import asked, timed_as
from spa_cli.runtime.timing import Timing
from spa_cli.verification.speed import too_long
from tests.builders import analysed, build, with_initializer_inputs
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
    result = spa_cli.prune(listed(), tidy=False, **ASKED)
    assert beside(result) == [(False, 0.5), (True, 2.0)]
    assert result.slower == (
        "the result takes 2.00 of the time that the original takes once its weights are off the inputs; give tidy=True"
    )
    seconds["result"] = 0.8
    assert spa_cli.prune(listed(), tidy=False, **ASKED).slower == ""


@pytest.mark.parametrize("tidy", [None, True])
def test_what_tidying_saved_makes_up_for_no_width(seconds, tidy) -> None:
    result = spa_cli.prune(listed(), tidy=tidy, **ASKED)
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
    inspected = spa("inspect", path).err
    assert inspected.startswith(said) and "; 'spa prune' takes them off the inputs" in inspected
    assert "spa_cli.prune() takes" in spa_cli.inspect(path)._repr_html_()
    asked = ("--ratio", 0.25, "--method", "l1")
    for flags, what in ((["--no-tidy"], "are also inputs"), ([], "were also inputs"), (["--tidy"], "were also inputs")):
        out = tmp_path / f"s{'-'.join(flags)}.onnx"
        ran = spa("prune", path, *asked, *flags, "-o", out, "-v")
        lines = ran.err.splitlines()
        if flags != ["--tidy"]:
            (first,) = [at for at, line in enumerate(lines) if f" s  2 weights {what}" in line]
            assert first < next(at for at, line in enumerate(lines) if "scoring channels" in line)
        assert " of the tidied original's" in " ".join(ran.out.split())
    report = json.loads(spa("prune", path, *asked, "-o", tmp_path / "t.onnx", "--json").out)
    assert [one["beside"] for one in report["timings"]][:2] == ["original", "tidied original"]


NET = "(float[N,5] x) => (y) { a = MatMul(x, wa)\n r = Relu(a)\n y = MatMul(r, wb) }"


@pytest.fixture
def runs(monkeypatch) -> list[tuple[int, int | None]]:
    """Of every session that is timed: samples at a time, and threads."""
    seen: list[tuple[int, int | None]] = []

    def latency(before, after, feeds, *_, threads=None, **__) -> Timing:
        seen.append((len(feeds["x"]), threads or asked().threads))
        return Timing(1e-4, 1e-4, 1e-4, 1e-4)

    for module in ("spa_cli.verification.speed", "spa_cli.trial.trials", "spa_cli.verification.compare"):
        monkeypatch.setattr(f"{module}.latency", latency)
    return seen


def test_one_sample_is_timed_unless_asked_and_that_is_said(runs, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.verification.speed.os.cpu_count", lambda: 4)
    monkeypatch.setattr("spa_cli.verification.speed._LONG", 1.0)
    model, x = build(NET, wa=(5, 8), wb=(8, 3)), np.ones((40, 5), np.float32)
    result = spa_cli.prune(model, calib=x, round_to=1, **ASKED)
    assert runs == [(1, None), (1, 1), (8, None)]
    assert [(one.batch, one.threads) for one in result.timings] == runs
    runs.clear()
    result = spa_cli.prune(model, calib=x, round_to=1, batch=4, threads=2, **ASKED)
    assert runs == [(4, 2), (4, 1), (8, 2)]
    runs.clear()
    # not all that there are
    for given, said in (({}, (1, None)), ({"batch": 8, "threads": 3}, (8, 3))):
        found = spa_cli.verify(model, result.model, calib=x, **given)
        assert (found.timed.batch, found.timed.threads) == runs[-1] == said
    assert "latency: 8 samples at a time, 3 threads" in re.sub("<[^>]*>", "", found._repr_html_())


def test_a_number_of_samples_that_a_model_does_not_take() -> None:
    fixed = build(NET.replace("N", "1"), wa=(5, 8), wb=(8, 3))
    small = spa_cli.prune(fixed, **ASKED).model
    for call in (lambda: spa_cli.prune(fixed, batch=4, **ASKED), lambda: spa_cli.verify(fixed, small, batch=4)):
        with pytest.raises(spa_cli.OptionError, match=r"^batch 4 can't be timed: 'model' takes 1 at a time; leav"):
            call()
    for name in ("batch", "threads"):
        with pytest.raises(spa_cli.OptionError, match=f"^{name} has to be at least 1, not 0$"):
            spa_cli.prune(fixed, **{name: 0}, **ASKED)


def test_threads_are_those_of_every_session_that_is_timed(monkeypatch) -> None:
    opened = []
    monkeypatch.setattr("spa_cli.runtime.session._opened", lambda what, options, *_: opened.append(options))
    monkeypatch.setattr("spa_cli.runtime.profile.silent_session", lambda what, options, *_: opened.append(options))
    model = build(NET, wa=(5, 8), wb=(8, 3))
    with timed_as(1, 3):
        open_session(model, timed=True)
        _session(model, "", "p")
        open_session(model, timed=True, threads=1)
        open_session(model)
        other = store.key_of(analysed(model), {"x": np.ones((1, 5), np.float32)})
    assert [options.intra_op_num_threads for options in opened] == [3, 3, 1, 0]
    assert other != store.key_of(analysed(model), {"x": np.ones((1, 5), np.float32)})


CONVOLUTIONS = "(float[N,3,6,6] x) => (y) { a = Conv(x, wa)\n r = Relu(a)\n y = Conv(r, wb) }"


@pytest.mark.parametrize(
    ("model", "advice"),
    [
        # of what kernels take in blocks there may be fewer that suit them
        (build(CONVOLUTIONS, wa=(8, 3, 1, 1), wb=(4, 8, 1, 1)), "target_latency, or for round_to 16, or for tidy=True"),
        (build(NET, wa=(5, 8), wb=(8, 3)), "target_latency, or for tidy=True"),
    ],
    ids=["convolutions", "matrices"],
)
def test_only_of_convolutions_kernels_like_some_widths(seconds, model, advice) -> None:
    seconds["result"] = 8.0
    result = spa_cli.prune(model, **ASKED)
    assert result.slower.startswith("the result takes 2.00 of the original's time here")
    assert result.slower.endswith(f"; ask for less with {advice}")


def plain() -> onnx.ModelProto:
    return build("(float[N,5] x) => (y) { a = MatMul(x, wa)\n r = Relu(a)\n y = MatMul(r, wb) }", wa=(5, 8), wb=(8, 3))


@pytest.fixture
def two_cores(monkeypatch) -> None:
    """On which one thread is timed, too."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("spa_cli.verification.speed._LONG", 1.0)
    monkeypatch.setattr("spa_cli.finish.too_long", too_long)


def test_what_is_slower_on_one_thread_alone_is_said(two_cores, monkeypatch) -> None:
    def latency(*_, threads=None, **__) -> Timing:
        after = 1.5e-3 if threads == 1 else 0.9e-3
        return Timing(1e-3, after, 1e-3, after)

    for module in ("spa_cli.verification.speed", "spa_cli.trial.trials"):
        monkeypatch.setattr(f"{module}.latency", latency)
    result = spa_cli.prune(plain(), **ASKED)
    assert not result.warnings
    assert result.slower.startswith("the result takes 1.50 of the original's time here on one thread; ask for less")


def test_a_run_on_one_thread_that_is_left_out_is_said(two_cores, seconds) -> None:
    result = spa_cli.prune(plain(), **ASKED)
    assert [one.threads for one in result.timings] == [None]
    (warning,) = result.warnings
    assert warning.startswith("not timed on one thread, where a run may take more than a second; ")
    seconds.update(original=0.4, tidied=0.4, result=0.2)
    found = spa_cli.prune(plain(), **ASKED)
    assert not found.warnings and [one.threads for one in found.timings] == [None, 1]
