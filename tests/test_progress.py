"""Who asks for it is told what goes on."""

from __future__ import annotations

import inspect
import logging

import onnx
import pytest

import spa_cli
from spa_cli.progress import LOG, level, listened, stage, tracked, within
from tests.samples import model_path

MLP = model_path("digits_mlp")


def test_stages_and_fractions_are_told() -> None:
    told = []
    with listened(lambda *heard: told.append(heard)), within("1 of 2"):
        stage("reading")
        assert list(tracked("ab")) == ["a", "b"]
        LOG.info("no stage")
        stage("")
    assert told == [("1 of 2: reading", 0.0), ("1 of 2: reading", 0.0), ("1 of 2: reading", 0.5)]


def test_a_fraction_is_of_the_work_where_that_is_told() -> None:
    told = []
    with listened(lambda *heard: told.append(heard)):
        assert list(tracked([6, 3, 1], work=float)) == [6, 3, 1]
        assert list(tracked([], work=float)) == []
    assert [part for _, part in told] == [0.0, 0.6, 0.9]


def test_nobody_else_hears_more_for_it(caplog) -> None:
    before = level()
    with caplog.at_level(logging.WARNING, "spa_cli"):
        with listened(lambda *_: None):
            stage("reading")
            assert level() == logging.DEBUG
        assert caplog.records == []
    assert level() == before


@pytest.mark.parametrize("isolate", [False, True])
def test_functions_take_a_listener(tmp_path, isolate) -> None:
    told = []
    found = list(
        spa_cli.prune_many(
            [MLP], tmp_path, ratio=0.3, method="l2", isolate=isolate, progress=lambda *heard: told.append(heard)
        )
    )
    assert found[0].exit_code == 0
    stages = [name for name, _ in told]
    assert f"1 of 1, {MLP.name}: reading the model" in stages
    assert stages.index("done") == len(stages) - 1
    assert all(0 <= part <= 1 for _, part in told)


def test_every_function_that_works_tells() -> None:
    silent = {"criteria", "devices", "operators", "schema"}
    functions = {n for n in spa_cli.__all__ if inspect.isfunction(getattr(spa_cli, n))}
    told = {n for n in functions if "progress" in inspect.signature(getattr(spa_cli, n)).parameters}
    assert functions - told == silent
    plan = spa_cli.prune(MLP, ratio=0.3, method="l2").plan
    state = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(MLP).graph.initializer}
    stages: list[str] = []
    spa_cli.apply_weights(plan, state, progress=lambda stage, part: stages.append(stage))
    assert stages == ["reading the weights", "matching names and values", "cutting", "done"]


def test_a_listener_can_stop_the_work() -> None:
    def stop(name: str, part: float) -> None:
        if name.startswith("scoring"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spa_cli.prune(MLP, ratio=0.3, method="l2", progress=stop)
