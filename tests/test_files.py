"""What a command writes does not destroy what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

import spa_cli
from spa_cli import pipeline
from spa_cli.errors import UsageError
from spa_cli.files import Files
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
