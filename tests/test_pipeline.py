"""Errors that say nothing: what went wrong is told by their kind, and what is finished is not thrown away."""

from __future__ import annotations

import onnx
import pytest

import spa_cli
from spa_cli.errors import ModelError, first_line
from spa_cli.graph import shapes
from spa_cli.report.page import inspect as inspect_page
from spa_cli.runtime import first_run
from spa_cli.verification import check, speed
from tests.builders import build


def model() -> onnx.ModelProto:
    return build("(float[N,5] x) => (y) { a = MatMul(x, wa)\n r = Relu(a)\n y = MatMul(r, wb) }", wa=(5, 8), wb=(8, 3))


def silent(*_: object, **__: object) -> None:
    raise RuntimeError(" \n")


@pytest.mark.parametrize(
    ("said", "first"),
    [
        (RuntimeError(), "RuntimeError"),
        (KeyError(), "KeyError"),
        (ValueError(" \n\t"), "ValueError"),
        (ValueError("\n  one \ntwo"), "one"),
        ("", "no message"),
        (" \n", "no message"),
        ("one\ntwo", "one"),
        ("x" * 300, "x" * 200),
    ],
)
def test_the_first_line_of_what_was_said(said, first) -> None:
    assert first_line(said) == first


def test_a_long_first_line_is_cut() -> None:
    assert first_line(ValueError("a long story\nmore"), 6) == "a long"


@pytest.mark.parametrize("error", [RuntimeError(), RuntimeError("\n"), MemoryError()])
def test_latency_that_can_not_be_measured_costs_nobody_the_model(error, tmp_path, monkeypatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(speed, "latency", fails)
    asked = {"plan_out": tmp_path / "plan.json", "ratio": 0.5, "method": "l1"}
    result = spa_cli.prune(model(), tmp_path / "small.onnx", **asked)
    assert result.warnings == [f"latency could not be measured: {type(error).__name__}"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plan.json", "small.onnx"]
    assert onnx.load(tmp_path / "small.onnx").graph.initializer[0].dims == [5, 4]
    assert result.after.seconds is None


def test_a_result_that_does_not_run_is_no_crash(monkeypatch) -> None:
    monkeypatch.setattr(check, "run", silent)
    with pytest.raises(ModelError, match="onnxruntime can't run the result: RuntimeError"):
        spa_cli.prune(model(), ratio=0.5, method="l1")


def test_a_model_that_does_not_run_is_no_crash(monkeypatch) -> None:
    monkeypatch.setattr(first_run, "run", silent)
    with pytest.raises(ModelError, match=r"does not run on synthetic inputs, 'x' of 1x5, .* \(RuntimeError\)"):
        spa_cli.prune(model(), ratio=0.5, method="l1")


def test_shapes_that_can_not_be_inferred_are_no_crash(monkeypatch) -> None:
    monkeypatch.setattr(shapes, "_infer", silent)
    assert spa_cli.inspect(model()).graph.outputs == ["y"]


def test_a_page_of_a_model_that_does_not_run(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(inspect_page, "first_run", silent)
    spa_cli.inspect(model(), html=tmp_path / "page.html")
    assert "Latency by layer could not be measured: RuntimeError." in (tmp_path / "page.html").read_text("utf-8")
