"""What a command writes does not destroy what it writes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import spa_cli
from spa_cli import pipeline, written
from spa_cli.errors import UsageError
from spa_cli.files import Files, all_in_place
from spa_cli.runtime.load import load
from tests.samples import model_path

MLP = model_path("digits_mlp")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("a.onnx", "a.onnx", None), "--output and --plan-out are the same file"),
        (("a.onnx", "../{here}/a.onnx", None), "--output and --plan-out are the same file"),
        (("a.html", None, "a.html"), "--output and --report are the same file"),
        ((None, "a.html", "a.html"), "--plan-out and --report are the same file"),
    ],
)
def test_one_name_for_two_files(names, says, tmp_path) -> None:
    out, plan, report = (None if n is None else tmp_path / n.format(here=tmp_path.name) for n in names)
    with pytest.raises(UsageError, match=f"{says} '.*'; give two names"):
        Files(out, plan, report, force=True).check(load(MLP))


def test_weights_of_the_output_are_no_place_for_a_plan(tmp_path, external) -> None:
    with pytest.raises(UsageError, match="the weights of --output and --plan-out are the same file"):
        Files(tmp_path / "a.onnx", tmp_path / "a.onnx.data").check(load(external))


def test_what_lies_beside_a_plan_is_none_of_its_weights(tmp_path, external) -> None:
    (tmp_path / "plan.json.data").write_text("mine")
    Files(tmp_path / "a.onnx", tmp_path / "plan.json").check(load(external))


def test_there_is_no_report_of_a_plan_that_was_carried_out(tmp_path) -> None:
    plan = spa_cli.prune(MLP, ratio=0.5, method="l1").plan
    with pytest.raises(UsageError, match="there is no report of a plan that was carried out; leave it out"):
        pipeline.apply(plan, MLP, Files(tmp_path / "a.onnx", report=tmp_path / "a.html"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def external(tmp_path) -> Path:
    import onnx

    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(
        onnx.load(model_path("digits_resnet")),
        folder / "m.onnx",
        save_as_external_data=True,
        location="m.data",
        size_threshold=0,
    )
    return folder / "m.onnx"


# -- in place, all of them or none ------------------------------------------------------------------------------------


def _steps(folder: Path, failing: str = "") -> dict[Path, Callable[[], None]]:
    def step(path: Path) -> None:
        if path.name == failing:
            raise UsageError(f"the file '{path}' can't be written: no room; name another")
        path.write_text("new")
        written.note(path)

    return {folder / name: partial(step, folder / name) for name in ("a", "b", "c")}


def test_all_are_put_in_place_in_their_order(tmp_path) -> None:
    with written.noting() as found:
        all_in_place(_steps(tmp_path), False)
    assert found == [tmp_path / name for name in "abc"]


@pytest.mark.parametrize("failing", ["a", "b", "c"])
def test_where_one_fails_none_stays(tmp_path, failing) -> None:
    with written.noting() as found, pytest.raises(UsageError, match=r"no room; name another$"):
        all_in_place(_steps(tmp_path, failing), False)
    assert list(tmp_path.iterdir()) == []
    assert found == []


def test_what_may_have_replaced_something_stays_and_is_said(tmp_path) -> None:
    says = r"no room; name another; '.*/a', '.*/b' were written before$"
    with written.noting() as found, pytest.raises(UsageError, match=says):
        all_in_place(_steps(tmp_path, "c"), True)
    assert found == [tmp_path / "a", tmp_path / "b"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_an_interrupt_waits_until_all_are_there(tmp_path) -> None:
    steps = _steps(tmp_path)
    steps = {tmp_path / "first": lambda: signal.raise_signal(signal.SIGINT), **steps}
    # a shell lets what runs in the background ignore it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            all_in_place(steps, False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]
