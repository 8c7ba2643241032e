"""Folders that Hugging Face's datasets saved."""

from __future__ import annotations

import sys

import datasets
import numpy as np
import pytest
from datasets import Dataset, DatasetDict, Features, Sequence, Value
from onnx import TensorProto
from PIL import Image

from spa_cli.calibration.read import read_samples
from spa_cli.calibration.reading import Reading
from spa_cli.errors import UsageError
from tests.calibration.graphs import graph, image_graph
from tests.calibration.words import CLS, IDS, SEP, word_level

TWO = graph(x=(TensorProto.FLOAT, ["n", 2]), ids=(TensorProto.INT64, ["n", "t"]))


@pytest.fixture(autouse=True)
def quiet() -> None:
    """No bars."""
    datasets.disable_progress_bars()


def _rows(count: int, start: int = 0) -> Dataset:
    rows = range(start, start + count)
    return Dataset.from_dict(
        {"x": [[i, i / 2] for i in rows], "ids": [[i] * 3 for i in rows], "label": [i % 3 for i in rows]}
    )


def test_columns_named_as_the_inputs(tmp_path) -> None:
    _rows(6).save_to_disk(tmp_path / "d")
    found = read_samples(tmp_path / "d", TWO)
    np.testing.assert_allclose(found.data["x"], [[i, i / 2] for i in range(6)])
    assert found.data["ids"].tolist() == [[i] * 3 for i in range(6)]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert found.about == f"{tmp_path / 'd'} (6 rows)"


@pytest.mark.parametrize(
    "splits, taken",
    [(("train", "validation", "test"), "validation"), (("train", "test"), "test"), (("more", "train"), "train")],
)
def test_one_split_of_several_is_taken_and_named(tmp_path, splits, taken) -> None:
    DatasetDict({name: _rows(8, 10 * at) for at, name in enumerate(splits)}).save_to_disk(tmp_path / "d")
    found = read_samples(tmp_path / "d", TWO, limit=4)
    start = 10 * splits.index(taken)
    assert found.data["x"][:, 0].tolist() == [start, start + 2, start + 4, start + 6]
    assert found.about == f"{tmp_path / 'd'}, split {taken} (4 of 8 rows)"


def test_splits_of_other_names(tmp_path) -> None:
    DatasetDict({"own": _rows(2)}).save_to_disk(tmp_path / "d")
    assert read_samples(tmp_path / "d", TWO).about == f"{tmp_path / 'd'}, split own (2 rows)"


def test_a_column_of_images(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 6)).astype(np.uint8)
    features = Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = {"image": [Image.fromarray(p) for p in pixels], "label": [1, 0, 1, 1]}
    Dataset.from_dict(rows, features).save_to_disk(tmp_path / "d")
    # the input has the column's name, and still takes no PNG
    found = read_samples(tmp_path / "d", image_graph("n", 1, "h", "w"), Reading(mean=(0.5,)), limit=2)
    np.testing.assert_allclose(found.data["image"][:, 0], pixels[[0, 2]] / 255 - 0.5, rtol=1e-5, atol=1e-6)
    assert found.labels is not None
    assert found.labels.tolist() == [1, 1]


def test_an_image_that_is_none(tmp_path) -> None:
    rows = {"image": [Image.new("L", (4, 4)), None]}
    Dataset.from_dict(rows, Features({"image": datasets.Image()})).save_to_disk(tmp_path / "d")
    with pytest.raises(UsageError, match=r"row 1 of '.*' holds no image that can be read"):
        read_samples(tmp_path / "d", image_graph("n", 1, 4, 4))


def test_a_column_of_text(tmp_path) -> None:
    reading = Reading(tokenizer=word_level(tmp_path / "tokenizer.json"))
    target = graph(input_ids=(TensorProto.INT64, ["n", "t"]), attention_mask=(TensorProto.INT64, ["n", "t"]))
    Dataset.from_dict({"idx": ["a", "b"], "text": ["the cat", "dog"], "labels": [0.5, 2.0]}).save_to_disk(
        tmp_path / "d"
    )
    found = read_samples(tmp_path / "d", target, reading)
    assert found.data["input_ids"].tolist() == [[CLS, IDS["the"], IDS["cat"], SEP], [CLS, IDS["dog"], SEP, 0]]
    assert found.data["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert found.labels is not None
    assert found.labels.tolist() == [0.5, 2.0]
    with pytest.raises(UsageError, match="is text; give its tokenizer by --tokenizer"):
        read_samples(tmp_path / "d", target)


@pytest.mark.parametrize(
    "rows, says",
    [
        ({"z": [1.0]}, "has the columns z; name them as the model's inputs x, or give one of images or text"),
        ({"x": [[1.0], [1.0, 2.0]]}, "column 'x' of '.*' holds arrays of several shapes; pad them to one"),
        ({"x": [[1.0, float("inf")]]}, "holds infinity at "),
        ({"x": [[1.0, 2.0, 3.0]]}, r"has shape \(1, 3\), the model takes"),
    ],
)
def test_datasets_that_do_not_serve_the_model(tmp_path, rows, says) -> None:
    kind = Features(
        {n: Sequence(Value("float32")) if isinstance(v[0], list) else Value("float32") for n, v in rows.items()}
    )
    Dataset.from_dict(rows, kind).save_to_disk(tmp_path / "d")
    with pytest.raises(UsageError, match=says):
        read_samples(tmp_path / "d", graph(x=(TensorProto.FLOAT, ["n", 2])))


def test_a_dataset_without_rows_or_files(tmp_path) -> None:
    _rows(0).save_to_disk(tmp_path / "d", num_shards=1)
    with pytest.raises(UsageError, match=r"the dataset '.*d' holds no rows"):
        read_samples(tmp_path / "d", TWO)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "dataset_info.json").write_text("{}")
    with pytest.raises(UsageError, match=r"the dataset '.*e' can't be read: .*; save it with save_to_disk"):
        read_samples(tmp_path / "e", TWO)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "dataset_dict.json").write_text('{"splits": []}')
    with pytest.raises(UsageError, match=r"the dataset '.*f' has no splits; save one with rows"):
        read_samples(tmp_path / "f", TWO)


def test_without_the_library(tmp_path, monkeypatch) -> None:
    _rows(2).save_to_disk(tmp_path / "d")
    monkeypatch.setitem(sys.modules, "datasets", None)
    says = r"a saved dataset needs datasets \(.*\); install it in spa's own environment: pip install datasets"
    with pytest.raises(UsageError, match=says):
        read_samples(tmp_path / "d", TWO)
