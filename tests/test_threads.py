"""The same bytes whatever the environment: threads, cores, hashes, folders, what was run before."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import pytest

from spa_cli import threads
from tests.samples import calib_path, model_path

ROOT = Path(__file__).resolve().parents[1]
# what OpenBLAS rounds otherwise on two threads than on one
INVERSE = (
    "import numpy as np, zlib; a = np.random.default_rng(0).standard_normal((700, 700)); "
    "print(zlib.crc32(np.linalg.inv(a.T @ a + 700 * np.eye(700))))"
)
ENVIRONMENTS = (
    {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "1"},
    {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "2"},
)


def _python(code: str, *arguments: object, cwd: Path = ROOT, core: bool = False, **environment: str) -> str:
    """What a process prints; ``core``: it has one only."""
    alone = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); " if core else ""
    done = subprocess.run(
        [sys.executable, "-c", alone + code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_numpy_gets_one_thread_and_nobody_else(tmp_path) -> None:
    pinned = "from spa_cli.threads import on_one_thread; on_one_thread(); "
    there = "import os; print(os.environ.get('OPENBLAS_NUM_THREADS'))"
    told = f"{INVERSE}; {there}"
    found = [_python(pinned + told, **e).split() for e in ENVIRONMENTS]
    assert found[0][0] == found[1][0]
    # what is started from here is asked to use as many as the user wants
    assert [f[1] for f in found] == ["1", "2"]
    gone = "import os; os.environ.pop('OPENBLAS_NUM_THREADS', None); "
    assert _python(gone + pinned + there).split() == ["None"]


def test_commands_come_before_numpy() -> None:
    """Nothing that is imported on the way loads it; a configuration is read by then."""
    code = (
        "import sys; from spa_cli.cli.app import commands; import spa_cli.cli.config; commands(); "
        "print('numpy' in sys.modules)"
    )
    assert _python(code).strip() == "False"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits_mlp", ("--method", "l1")),
        ("digits_mlp", ()),
        ("digits_vit", ("--calib", calib_path("digits_vit"))),
        ("digits_resnet", ("--method", "l1", "--tidy")),
    ],
    ids=["weights alone", "made-up samples", "samples and a repair", "tidied"],
)
def test_the_same_bytes(tmp_path, name, options) -> None:
    """On one thread and two, on one core and all, with other hashes, in another folder, and once more."""
    found = []
    for number, environment in enumerate(ENVIRONMENTS):
        place = tmp_path / str(number)
        place.mkdir()
        _python(
            "from spa_cli.cli import main; main()",
            *("prune", model_path(name), "-o", place / "small.onnx", "--plan-out", place / "plan.json", "-q"),
            *("--target-macs", 0.5, "--round-to", 1, *options),
            cwd=place,
            core=not number,
            **environment,
        )
        found.append(((place / "small.onnx").read_bytes(), (place / "plan.json").read_bytes()))
    assert found[0] == found[1]


def test_each_gives_in_order_what_several_threads_make() -> None:
    """Those that take longest come first: nobody overtakes."""
    names = set()

    def slow(n: int) -> int:
        names.add(threading.current_thread().name)
        time.sleep(0.02 * (6 - n))
        return n * n

    assert list(threads.each(slow, range(6))) == [n * n for n in range(6)]
    assert len(names) == min(threads.cores(), 6)


def test_little_work_is_handed_over_together(monkeypatch) -> None:
    handed = list[int]()
    begin = threads.begin
    monkeypatch.setattr(threads, "begin", lambda function, *given: handed.append(1) or begin(function, *given))
    assert list(threads.each(lambda n: n * n, range(400))) == [n * n for n in range(400)]
    assert len(handed) < 100
    handed.clear()
    assert list(threads.each(lambda n: (time.sleep(0.02), n)[1], range(6))) == [*range(6)]
    assert len(handed) in (0, 6), "what takes long is one item each, where there are several threads"


def test_what_is_wanted_later_is_begun_where_there_are_cores() -> None:
    names = [threads.beside(lambda n: (n, threading.current_thread()), n)() for n in range(3)]
    assert [n for n, _ in names] == [0, 1, 2]
    assert all((thread is threading.main_thread()) == (threads.cores() == 1) for _, thread in names)
    within = threads.each(lambda n: (threads.beside(threading.current_thread)(), threading.current_thread()), range(3))
    assert all(there is here for there, here in within), "of many nothing is begun by one of them"


def test_each_within_each_is_one_after_the_other() -> None:
    def inner(n: int) -> list[tuple[int, str]]:
        return list(threads.each(lambda m: (m, threading.current_thread().name), range(n)))

    for found in threads.each(inner, (3, 4)):
        assert [m for m, _ in found] == list(range(len(found)))
        assert len({name for _, name in found}) == 1


def test_what_fails_is_raised_once_nothing_is_under_way() -> None:
    done = list[int]()

    def fails(n: int) -> int:
        if n == 1:
            raise ValueError("one")
        time.sleep(0.05)
        done.append(n)
        return n

    with pytest.raises(ValueError, match="one"):
        list(threads.each(fails, range(9)))
    known = len(done)
    time.sleep(0.1)
    assert len(done) == known < 8


def test_other_threads_know_how_errors_are_taken_and_what_is_in_force() -> None:
    inside: ContextVar[int] = ContextVar("inside", default=0)
    inside.set(3)
    with np.errstate(over="raise"):
        assert list(threads.each(lambda _: (inside.get(), np.geterr()["over"]), range(3))) == [(3, "raise")] * 3
