"""``--work``: a run that was stopped goes on, does nothing twice, and gives what it would have given."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import spa_cli
from spa_cli import memory
from spa_cli.obspa import collect, curvature, rank, walk
from tests.builders import build
from tests.graph.files import save_external

CONV = """(float[N,3,8,8] x) => (y) {
  a = Conv<pads=[1,1,1,1]>(x, w1)  a1 = Relu(a)  b = Conv<pads=[1,1,1,1]>(a1, w2)  s = Add(b, x)  c = Relu(s)
  d = Conv<pads=[1,1,1,1]>(c, w3)  e = Relu(d)  y = Conv(e, w4)
}"""
WEIGHTS = {"w1": (16, 3, 3, 3), "w2": (3, 16, 3, 3), "w3": (12, 3, 3, 3), "w4": (4, 12, 1, 1)}


class Stopped(BaseException):
    """As SIGKILL: nobody catches it."""


@pytest.fixture
def path(tmp_path, monkeypatch) -> Path:
    # several stretches
    monkeypatch.setattr(memory, "_LITTLE", 0)
    np.save(tmp_path / "calib.npy", np.random.default_rng(1).standard_normal((48, 3, 8, 8)).astype(np.float32))
    return save_external(build(CONV, **WEIGHTS), tmp_path / "m.onnx")


def pruned(path: Path, name: str, **options: object) -> bytes:
    out = path.with_name(name)
    given = {"ratio": 0.4, "calib": path.with_name("calib.npy"), "round_to": 1, "memory": "16KB", **options}
    spa_cli.prune(path, out=out, force=True, **given)
    return out.with_name(f"{name}.data").read_bytes()


# what a step is, and where it is done
STEPS = {
    "what outputs feel": (curvature, "sensitivity"),
    "a layer's statistics": (collect.Sums, "statistics"),
    "a ranking": (rank, "_read_by"),
    "a repair": (walk, "repair_layer"),
}


def counted(monkeypatch, done: Counter[str], stop: tuple[str, int] | None = None) -> None:
    """Count steps; ``stop`` as that step is begun for the so-manieth time."""
    for name, (place, attribute) in STEPS.items():
        real = getattr(place, attribute)

        @functools.wraps(real)
        def step(*arguments, _real=real, _name=name, **named):
            if stop is not None and _name == stop[0] and done[_name] == stop[1]:
                raise Stopped
            done[_name] += 1
            return _real(*arguments, **named)

        monkeypatch.setattr(place, attribute, step)


def test_it_goes_on_where_it_was_stopped_and_gives_the_same(path, monkeypatch) -> None:
    whole = Counter[str]()
    with monkeypatch.context() as patched:
        counted(patched, whole)
        expected = pruned(path, "whole.onnx")
    assert set(whole) == set(STEPS)
    for name in STEPS:
        for stop in range(whole[name]):
            first, second = Counter[str](), Counter[str]()
            work = path.with_name("work")
            with monkeypatch.context() as patched:
                counted(patched, first, (name, stop))
                with pytest.raises(Stopped):
                    pruned(path, "small.onnx", work=work)
            assert not path.with_name("small.onnx").exists()
            assert work.is_dir()
            with monkeypatch.context() as patched:
                counted(patched, second)
                assert pruned(path, "small.onnx", work=work) == expected, (name, stop)
            assert not work.exists()
            path.with_name("small.onnx").unlink()
            # but for the stretch that was under way, nothing is done twice
            for each in STEPS:
                assert first[each] + second[each] <= whole[each] + (2 if each == name else 0), (name, stop, each)


def test_stretches_that_were_run_are_not_run_again(path, monkeypatch) -> None:
    """Activations at the end of the last one are there, too."""
    runs: list[int] = []
    real = collect._Network.stretch

    def stretch(network, number, sums):
        runs.append(number)
        return real(network, number, sums)

    monkeypatch.setattr(collect._Network, "stretch", stretch)
    done = Counter[str]()
    with monkeypatch.context() as patched, pytest.raises(Stopped):
        counted(patched, done, ("a layer's statistics", 2))
        pruned(path, "small.onnx", work=path.with_name("work"))
    pruned(path, "small.onnx", work=path.with_name("work"))
    # what was stopped in the third begins there
    assert runs == [0, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "l2"}, "work keeps what obspa does, and method is l2; leave one out"),
        ({"rounds": 2}, "work goes on with one cut, and rounds makes several; leave one out"),
        ({"ratio": None, "max_drift": 0.1}, "work goes on with one cut, and max_drift makes several; leave one out"),
        (
            {"calib": lambda: np.zeros((8, 3, 8, 8), np.float32)},
            "what a function gives as samples may change; leave it",
        ),
    ],
)
def test_what_can_not_be_gone_on_with_is_refused(path, options, said) -> None:
    with pytest.raises(spa_cli.OptionError, match=said):
        pruned(path, "small.onnx", work=path.with_name("work"), **options)


def test_many_models_have_a_folder_each(path, monkeypatch) -> None:
    path.with_name("n.onnx").write_bytes(path.read_bytes())
    work, seen = path.with_name("work"), set[str]()
    real = walk.repair_layer

    def repair(*arguments) -> None:
        seen.update(p.name for p in work.iterdir() if p.is_dir() and not p.name.startswith("."))
        real(*arguments)

    monkeypatch.setattr(walk, "repair_layer", repair)
    outcomes = spa_cli.prune_many(
        [path, path.with_name("n.onnx")],
        path.with_name("out"),
        ratio=0.4,
        calib=path.with_name("calib.npy"),
        work=work,
        isolate=False,
    )
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert seen == {"m", "n"}
