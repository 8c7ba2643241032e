"""What an engine is asked for, and work in one process."""

from __future__ import annotations

import pytest

from spa_cli.engines import Asked, Job, engine_of
from spa_cli.errors import ModelError, OptionError
from spa_cli.isolation import Bounds
from tests.engines import jobs


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("here", (False, 0, "")),
        ("", (False, 0, "")),
        ("dask", (True, 0, "")),
        ("dask:4", (True, 4, "")),
        ("dask://localhost:8786", (True, 0, "localhost:8786")),
        ("dask://[::1]:8786", (True, 0, "[::1]:8786")),
    ],
)
def test_words_that_name_an_engine(text, asked) -> None:
    found = Asked.of(text)
    assert (found.spread, found.workers, found.address) == asked


@pytest.mark.parametrize("text", ["dask:", "dask:0", "dask:-1", "dask:x", "dask://", "dask://:1", "dask://a", "ray"])
def test_others_are_refused(text) -> None:
    with pytest.raises(OptionError, match=f"--engine '{text}' is none; write here, dask "):
        Asked.of(text)


def test_workers_of_this_machine_share_its_memory() -> None:
    assert Asked.of("dask:4").sharing(10) == 4
    assert Asked.of("dask:4").sharing(2) == 2
    assert Asked.of("dask://a:1").sharing(10) == Asked.of("here").sharing(10) == 1
    assert jobs.memory(4) == jobs.memory(1) // 4


@pytest.mark.parametrize("bounds", [None, Bounds()], ids=["in this process", "in a child"])
def test_one_process_gives_what_came_of_every_job_in_order(bounds) -> None:
    asked = [Job(f"{n}.onnx", "", (n,)) for n in (1, 3, 2)]
    with engine_of(Asked.of("here"), bounds, 3) as engine:
        made = list(engine.map("tests.engines.jobs:doubled", asked))
    assert [m.value for m in made] == [2, None, 4]
    assert isinstance(made[1].error, ModelError) and str(made[1].error) == "there is no three; take another"
