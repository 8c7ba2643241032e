"""Samples that a program has in memory: arrays, dicts of them, tensors, loaders and data sets."""

from __future__ import annotations

import os
import re
from collections import UserDict
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

import spa_cli
from spa_cli.calibration.digest import digest
from spa_cli.calibration.read import read_samples
from spa_cli.errors import UsageError, VerificationError
from spa_cli.options import Options
from spa_cli.options.sources import InMemory, samples
from tests.calibration.graphs import graph
from tests.samples import calib_path, model_path

ONE = graph(x=(TensorProto.FLOAT, ["n", 2]))
TWO = graph(x=(TensorProto.FLOAT, ["n", 2]), z=(TensorProto.FLOAT, ["n"]))
X, Z = np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(6, dtype=np.float32)
LABELS = np.array([5, 4, 3, 2, 1, 0])
MLP, ROOT = model_path("digits_mlp"), Path(__file__).resolve().parents[2]


class Tensor:
    """What there is of a framework's tensor here: no sequence of numbers, an array on demand."""

    def __init__(self, array, dtype="torch.float32") -> None:
        self._array, self.dtype = array, dtype

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def float(self) -> Tensor:
        return Tensor(self._array)

    def __array__(self, *_, **__) -> np.ndarray:
        if "bfloat16" in self.dtype:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self._array


class Loader:
    """Batches, as a DataLoader gives them: lists, of one where there are no labels."""

    def __init__(self, *arrays) -> None:
        self._arrays = arrays

    def __iter__(self):
        return ([Tensor(a[at : at + 4]) for a in self._arrays] for at in (0, 4))


class Numbered:
    """A data set with an index that never ends by itself."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, at):
        return Tensor(X[at % len(X)]), int(LABELS[at % len(X)])


@pytest.mark.parametrize(
    "given",
    [X, X.tolist(), Tensor(X), Tensor(X, "torch.bfloat16"), {"x": X}, [X[:3], X[3:]], iter(X), Loader(X)],
    ids=lambda given: type(given).__name__,
)
def test_samples_of_one_input(given) -> None:
    found = read_samples(samples(given), ONE)
    assert (found.data["x"] == X).all()
    assert found.labels is None


@pytest.mark.parametrize(
    "given", [(X, LABELS), {"x": X, "labels": LABELS}, Loader(X, LABELS), Numbered(), list(zip(X, LABELS, strict=True))]
)
def test_with_labels(given) -> None:
    found = read_samples(samples(given), ONE)
    assert (found.data["x"] == X).all()
    assert found.labels is not None
    assert found.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize("given", [{"x": X, "z": Z}, UserDict(x=Tensor(X), z=Z), [{"x": X, "z": Z}]])
def test_samples_of_several_inputs_have_names(given) -> None:
    found = read_samples(samples(given), TWO)
    assert (found.data["x"] == X).all()
    assert (found.data["z"] == Z).all()
    with pytest.raises(UsageError, match=r"'ndarray \(6, 2\)' gives arrays without names, the model has 2 inputs"):
        read_samples(samples(X), TWO)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"pixels": X}, r"^'dict' lacks input 'x', it has pixels; give an array under each input's name$"),
        (
            [{"x": X}, {"pixels": X}],
            r"^item 1 of 'list' lacks input 'x', it has pixels; give every input in every item$",
        ),
        (X[:, :1], r"in 'ndarray \(6, 1\)' has shape \(6, 1\), the model takes \(n, 2\); give samples of that shape"),
    ],
)
def test_what_does_not_fit_the_model_is_told_where(given, says) -> None:
    with pytest.raises(UsageError, match=says):
        read_samples(samples(given), ONE)


def test_a_size_without_a_name_is_any() -> None:
    with pytest.raises(UsageError, match=r"has shape \(6, 2\), the model takes \(any, 3\); give"):
        read_samples(samples(X), graph(x=(TensorProto.FLOAT, [None, 3])))


@pytest.mark.parametrize("given", [3, object()])
def test_what_is_no_samples(given) -> None:
    with pytest.raises(UsageError, match=r"samples can't be taken from .*; give a path, an array, a dict of arrays"):
        Options(calib=given)


def test_what_a_loader_raises_is_told() -> None:
    def broken():
        yield X
        raise OSError("disk on fire")

    with pytest.raises(UsageError, match=r"'generator' failed with OSError: disk on fire at test_given\.py:\d+"):
        read_samples(samples(broken()), ONE)


def test_prune_verify_sweep_and_tune_take_them(tmp_path) -> None:
    data = dict(np.load(calib_path("digits_mlp")))
    (x,) = (v for k, v in data.items() if k != "labels")
    small = tmp_path / "small.onnx"
    from_file = spa_cli.prune(MLP, ratio=0.3, calib=calib_path("digits_mlp"))
    found = spa_cli.prune(MLP, small, ratio=0.3, calib=x)
    assert found.model == from_file.model
    assert found.judged_on == f"{found.samples} held-back samples of ndarray {x.shape}"
    assert spa_cli.prune(MLP, max_drift=0.5, method="l2", calib=x, test=[x[:8], x[8:32]]).samples == 32
    assert spa_cli.verify(MLP, small, calib=x, samples=16).samples == f"16 of {len(x)} samples of ndarray {x.shape}"
    vit = model_path("digits_vit")
    (images,) = np.load(calib_path("digits_vit")).values()
    spa_cli.prune(vit, small, ratio=0.1, method="l2", force=True)
    assert spa_cli.tune(small, vit, epochs=1, calib=images[:32]).tuned.samples.startswith("28 samples of ndarray")
    swept = spa_cli.sweep(MLP, tmp_path / "s", points=[0.8], method="l2", test=x[:16])
    assert swept.points[0].drift is not None


def test_a_function_may_evaluate(tmp_path) -> None:
    seen = []

    def accuracy(model: str) -> float:
        seen.append(os.path.getsize(model))
        return 0.9

    found = spa_cli.prune(MLP, min_accuracy=0.5, method="l2", evaluate=accuracy)
    assert found.accuracy is not None
    assert (found.accuracy.after.value, found.accuracy.by) == (0.9, "evaluate")
    assert min(seen) < max(seen) == MLP.stat().st_size
    compared = spa_cli.verify(MLP, MLP, evaluate=accuracy, min_accuracy=0.95)
    assert not compared.passed
    with pytest.raises(VerificationError, match=r"the function that evaluates failed with ZeroDivisionError \("):
        spa_cli.verify(MLP, MLP, evaluate=lambda model: 1 / 0)
    with pytest.raises(VerificationError, match="that evaluates gave a NoneType; give the accuracy as a number"):
        spa_cli.verify(MLP, MLP, evaluate=lambda model: None)
    with pytest.raises(VerificationError, match="the function that evaluates gave nan, which is no accuracy; mend it"):
        spa_cli.prune(MLP, min_accuracy=0.5, method="l2", evaluate=lambda model: float("nan"))


def test_an_iterator_serves_one_model(tmp_path) -> None:
    with pytest.raises(UsageError, match="calib is an iterator, which can be read once, and there are 2 models"):
        spa_cli.prune_many([MLP, model_path("digits_vit")], tmp_path, ratio=0.3, calib=iter(X))


def test_a_digest_tells_arrays_apart_and_takes_nothing_from_a_loader() -> None:
    assert digest(InMemory(X)) == digest(InMemory(X.copy())) != digest(InMemory(X + 1))
    assert digest(InMemory({"x": X})) != digest(InMemory({"y": X}))
    assert digest(InMemory([X[:3], X[3:]])) != digest(InMemory([X[:2], X[2:]]))
    loader = iter(X)
    assert digest(InMemory(loader)) != digest(InMemory(loader))
    assert len(list(loader)) == len(X)


def test_torch_is_never_imported() -> None:
    for room in ("calibration", "options"):
        for file in (ROOT / "spa_cli" / room).glob("*.py"):
            assert not re.search(r"^\s*(import|from) torch", file.read_text("utf-8"), re.MULTILINE)


def test_the_real_thing() -> None:
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X, requires_grad=True), torch.tensor(LABELS))
    for given in (data, torch.utils.data.DataLoader(data, batch_size=4)):
        found = read_samples(samples(given), ONE)
        assert (found.data["x"] == X).all()
        assert found.labels is not None
        assert found.labels.tolist() == LABELS.tolist()
    assert (read_samples(samples(torch.tensor(X).bfloat16()), ONE).data["x"] == X).all()


def test_tokens_and_their_mask_are_no_pair_with_a_label() -> None:
    tokens = graph(input_ids=(TensorProto.INT64, ["n", "s"]), attention_mask=(TensorProto.INT64, ["n", "s"]))
    ids = np.ones((8, 3), np.int64)
    with pytest.raises(UsageError, match="gives arrays without names, the model has 2 inputs; give dicts that name"):
        read_samples(InMemory(Loader(ids, ids)), tokens)
    found = read_samples(InMemory(Loader(ids, np.arange(8))), tokens)
    assert (found.labels.tolist(), found.data["attention_mask"].shape) == ([*range(8)], (8, 3))


def test_what_gives_its_samples_once_says_so_when_they_are_gone() -> None:
    batches = (x for x in np.split(np.load(calib_path("digits_mlp"))["pixels"], 4))
    asked = {"ratio": 0.3, "method": "l2"}
    with pytest.raises(
        spa_cli.OptionError, match=r"^calib and test are the same generator, which gives its samples onc"
    ):
        spa_cli.prune(MLP, calib=batches, test=batches, max_drift=0.5, method="l2")
    assert spa_cli.prune(MLP, calib=batches, **asked).judged_on.endswith("of generator")
    with pytest.raises(
        UsageError, match=r"^nothing is left of the generator, which gives .* once, .*; make it anew, or"
    ):
        spa_cli.prune(MLP, calib=batches, **asked)


def test_what_gives_its_samples_once_is_read_once(monkeypatch) -> None:
    """Also where tidying does not hold, and the model is looked at again."""
    answers = iter(["the sum differs", None, None, None, None, None, None, None, None])
    monkeypatch.setattr("spa_cli.trial.prepare.differs", lambda _: next(answers))
    batches = (x for x in np.split(np.load(calib_path("digits_mlp"))["pixels"], 4))
    assert spa_cli.prune(MLP, calib=batches, ratio=0.3, method="l2", tidy=True).samples > 1
