"""Samples from a function of the user's."""

from __future__ import annotations

import itertools
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

import spa_cli
from spa_cli.calibration.batches import gather
from spa_cli.calibration.read import read_samples
from spa_cli.errors import UsageError
from tests.calibration.graphs import graph
from tests.samples import calib_path, model_path

ONE = graph(x=(TensorProto.FLOAT, ["n", 2]))
TWO = graph(x=(TensorProto.FLOAT, ["n", 2]), z=(TensorProto.FLOAT, ["n"]))
X, Z = np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(6, dtype=np.float32)
LABELS = [5, 4, 3, 2, 1, 0]


class Tensor:
    """What there is of torch here."""

    def __init__(self, array) -> None:
        self._array, self.freed = array, False

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> np.ndarray:
        return self._array


FORMS = {
    "a dict": lambda: {"x": X, "z": Z, "labels": LABELS},
    "a dict and labels": lambda: ({"x": X, "z": Z}, LABELS),
    "batches": lambda: ({"x": X[i : i + 4], "z": Z[i : i + 4], "y": LABELS[i : i + 4]} for i in (0, 4)),
    "samples": lambda: ({"x": X[i], "z": Z[i], "label": LABELS[i]} for i in range(6)),
    "pairs": lambda: [({"x": X[i], "z": Z[i]}, LABELS[i]) for i in range(6)],
    "batches of pairs": lambda: [[{"x": X[i : i + 3], "z": Z[i : i + 3]}, np.array(LABELS[i : i + 3])] for i in (0, 3)],
    "tensors": lambda: [({"x": Tensor(X), "z": Tensor(Z)}, Tensor(np.array(LABELS)))],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same(form) -> None:
    found = read_samples(FORMS[form], TWO)
    assert (found.data["x"] == X).all()
    assert (found.data["z"] == Z).all()
    assert found.labels is not None
    assert found.labels.tolist() == LABELS


@pytest.mark.parametrize(
    "form",
    [
        lambda: X,
        lambda: list(X),
        lambda: iter([X[:1], X[1:]]),
        lambda: (X[i] for i in range(6)),
    ],
)
def test_arrays_serve_a_single_input(form) -> None:
    found = read_samples(form, ONE)
    assert (found.data["x"] == X).all()
    assert found.labels is None


def test_images_and_labels_as_two_arrays() -> None:
    found = read_samples(lambda: (X, LABELS), ONE)
    assert (found.data["x"] == X).all()
    assert found.labels is not None
    assert found.labels.tolist() == LABELS


def test_an_iterable_is_taken_no_further_than_needed() -> None:
    taken = []

    def endless():
        for i in itertools.count():
            taken.append(i)
            yield {"x": np.full((3, 2), i), "labels": [i] * 3}

    found = read_samples(endless, ONE, limit=7)
    assert found.data["x"][:, 0].tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert len(taken) <= 4
    assert found.about.endswith("endless (its first)")
    assert read_samples(lambda: {"x": X}, ONE, limit=2).count == 6


def test_an_endless_iterable_ends_where_memory_does(monkeypatch) -> None:
    monkeypatch.setattr("spa_cli.calibration.batches.working_memory", lambda: 100)
    found = gather(({"x": X} for _ in itertools.count()), ONE, "f", None)
    assert found.count == 18


@pytest.mark.parametrize("budget", [{"ratio": 0.3}, {"max_drift": 0.5}])
def test_a_function_is_called_once_a_command(budget) -> None:
    seen = []

    def shuffled():
        seen.append(1)
        return dict(np.load(calib_path("digits_mlp")))

    spa_cli.prune(model_path("digits_mlp"), calib=shuffled, calib_samples=32, **budget)
    assert seen == [1]


@pytest.mark.parametrize(
    "form, says",
    [
        (lambda: 3, "gave a int; it has to give a dict with an array per input"),
        (lambda: "text", "gave a str; it has to give"),
        (lambda: None, "gave a NoneType; it has to give"),
        (list, "gave no samples; it has to give"),
        (lambda: [{"x": X}], "item 0 of '.*' lacks input 'z', it has x; give every input"),
        (lambda: [X], "gives arrays without names, the model has 2 inputs; give dicts that name x, z"),
        (
            lambda: [{"x": X, "z": Z}, {"x": X[0, 0], "z": Z}],
            r"item 1 of '.*' has shape \(\) for input 'x', which takes",
        ),
        (lambda: [{"x": X[:, :1], "z": Z}, {"x": X, "z": Z}], "what '.*' gave does not fit together"),
        (lambda: {"x": X[:, :1], "z": Z}, r"has shape .*; give samples of that shape, as many as"),
        (lambda: {"x": X, "z": Z[:3]}, r"different numbers of samples: \[3, 6\]"),
        (lambda: {"x": X, "z": Z + np.nan}, "take samples with NaN or infinity out"),
        (lambda: {"x": X, "z": np.array(["a"] * 6)}, "is of type <U1; convert it to numbers"),
    ],
)
def test_what_is_no_samples(form, says) -> None:
    with pytest.raises(UsageError, match=says):
        read_samples(form, TWO)


def test_a_function_that_is_gone_is_not_taken_for_the_next() -> None:
    """Which may lie where it lay."""
    found = [read_samples(lambda n=n: {"x": np.full((n, 2), n)}, ONE).count for n in range(1, 20)]
    assert found == list(range(1, 20))


@pytest.mark.parametrize(
    "labels, says",
    [([1, 2], "holds 2 labels for 6 samples; give one label a sample"), (["a"] * 6, "not all finite numbers")],
)
def test_labels_that_do_not_fit(labels, says) -> None:
    found = read_samples(lambda: {"x": X, "labels": labels}, ONE)
    assert found.count == 6
    with pytest.raises(UsageError, match=says):
        _ = found.labels


# -- named -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(path: Path, code: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(code))
    return path


GIVES = """
    import numpy as np

    def samples():
        return {"x": np.full((3, 2), %d)}
"""


def test_a_module_in_the_current_directory(home) -> None:
    _write(home / "spa_test_module_a.py", GIVES % 7)
    before = list(sys.path)
    found = read_samples("spa_test_module_a:samples", ONE)
    assert found.data["x"].tolist() == [[7, 7]] * 3
    assert found.about == "spa_test_module_a:samples"
    assert sys.path == before


def test_a_file_finds_what_lies_beside_it(home) -> None:
    _write(home / "sub" / "spa_test_beside.py", "VALUE = 9\n")
    _write(
        home / "sub" / "data.py",
        """
        import dataclasses
        from spa_test_beside import VALUE

        @dataclasses.dataclass
        class Sample:
            value: "int"

        def samples():
            import numpy as np
            print("this would spoil --json")
            yield np.full((3, 2), Sample(VALUE).value)
        """,
    )
    assert read_samples(Path("sub/data.py:samples"), ONE).data["x"].tolist() == [[9, 9]] * 3


def test_what_it_prints_stays_out_of_the_result(home, capsys) -> None:
    _write(home / "noisy.py", "print('importing')\n" + textwrap.dedent(GIVES % 1))
    read_samples("noisy.py:samples", ONE)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "importing\n")


def test_a_path_that_exists_wins(home) -> None:
    np.save(home / "c.npy", X)
    (home / "c.npy").rename(home / "spa_test_module_b:samples")
    _write(home / "spa_test_module_b.py", GIVES % 7)
    assert (read_samples("spa_test_module_b:samples", ONE).data["x"] == X).all()


@pytest.mark.parametrize(
    "code, says",
    [
        (
            "def samples():\n    raise KeyError('no such\\nkey')",
            r"'m\.py:samples' failed with KeyError: .* at m\.py:2; mend",
        ),
        ("def samples():\n    yield 1 / 0", "failed with ZeroDivisionError: division by zero at m.py:2; mend it"),
        (
            "import numpy as np\ndef samples():\n    return np.ones(3).reshape(2)",
            "failed with ValueError: .* at m.py:3;",
        ),
        ("def samples():\n    raise ValueError", "failed with ValueError: no message at m.py:2"),
        ("raise SystemExit(3)", "failed with SystemExit: 3 at m.py:1"),
        ("def samples(:", r"failed with SyntaxError: .*m\.py, line 1"),
        (
            "import spa_no_such_module",
            "failed with ModuleNotFoundError: No module named 'spa_no_such_module' at m.py:1",
        ),
        ("def samples(path): ...", "failed with TypeError: .*missing 1 required positional argument"),
        ("def samples(): return [{'x': [[1], [1, 2]]}]", "failed with ValueError: setting an array element"),
        ("other = 1", r"'m\.py' has no function 'samples'; add one that gives samples, or mend the name"),
        ("samples = 1", r"'m\.py:samples' is no function but of type int; name one that gives samples"),
    ],
)
def test_code_that_fails_is_told_in_one_sentence(home, code, says) -> None:
    _write(home / "m.py", code)
    with pytest.raises(UsageError, match=says) as raised:
        read_samples("m.py:samples", ONE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "name, says",
    [
        ("spa_no_such_module:f", "there is no calibration file 'spa_no_such_module:f', and no module 'spa_no_such_mod"),
        ("none.py:f", r"there is no file 'none\.py'; name one that exists before the colon"),
        ("none/at/all", "there is no calibration file 'none/at/all'"),
        ("data.npz:x y", "there is no calibration file 'data.npz:x y'"),
    ],
)
def test_what_is_not_there(home, name, says) -> None:
    with pytest.raises(UsageError, match=says):
        read_samples(name, ONE)
