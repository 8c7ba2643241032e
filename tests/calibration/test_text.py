"""Text through a tokenizer that is made here, against ids by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from spa_cli.calibration.read import read_samples
from spa_cli.calibration.reading import Reading
from spa_cli.errors import UsageError
from spa_cli.graph.model import Graph
from tests.calibration.graphs import graph
from tests.calibration.words import CLS, IDS, SEP, word_level

BERT = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


def bert(length: int | str = "t", names: tuple[str, ...] = BERT) -> Graph:
    return graph(**{name: (TensorProto.INT64, ["n", length]) for name in names})


@pytest.fixture
def reading(tmp_path) -> Reading:
    return Reading(tokenizer=word_level(tmp_path / "tokenizer.json"))


@pytest.fixture
def lines(tmp_path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("\ufeffthe cat sat\n\n  \nthe dog\n", encoding="utf-8")
    return path


def test_every_input_is_filled_and_padded_to_the_longest(lines, reading) -> None:
    found = read_samples(lines, bert(), reading)
    assert found.data["input_ids"].tolist() == [
        [CLS, IDS["the"], IDS["cat"], IDS["sat"], SEP],
        [CLS, IDS["the"], IDS["dog"], SEP, 0],
    ]
    assert found.data["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert found.data["token_type_ids"].tolist() == [[0] * 5] * 2
    assert found.data["position_ids"].tolist() == [[0, 1, 2, 3, 4]] * 2
    assert {a.dtype for a in found.data.values()} == {np.dtype(np.int64)}
    assert (found.about, found.labels) == (f"{lines} (2 lines)", None)


def test_a_fixed_length_is_filled_and_kept(lines, reading) -> None:
    assert read_samples(lines, bert(7), reading).data["input_ids"].shape == (2, 7)
    cut = read_samples(lines, bert(4), reading).data["input_ids"]
    assert cut.tolist() == [[CLS, IDS["the"], IDS["cat"], SEP], [CLS, IDS["the"], IDS["dog"], SEP]]
    short = Reading(tokenizer=reading.tokenizer, max_length=3)
    found = read_samples(lines, bert(5), short).data
    assert found["input_ids"].tolist() == [[CLS, IDS["the"], SEP, 0, 0]] * 2
    assert found["attention_mask"].tolist() == [[1, 1, 1, 0, 0]] * 2
    given = Reading(tokenizer=reading.tokenizer, input_shape=(("input_ids", (1, 9)),))
    assert read_samples(lines, bert(), given).data["position_ids"].shape == (2, 9)


def test_long_texts_end_at_128_tokens_unless_told(tmp_path, reading) -> None:
    (tmp_path / "long.txt").write_text("the cat " * 200 + "\nthe\n")
    assert read_samples(tmp_path / "long.txt", bert(), reading).data["input_ids"].shape == (2, 128)
    longer = Reading(tokenizer=reading.tokenizer, max_length=300)
    assert read_samples(tmp_path / "long.txt", bert(), longer).data["input_ids"].shape == (2, 300)


def test_padding_on_the_left_moves_positions(lines, tmp_path) -> None:
    left = Reading(tokenizer=word_level(tmp_path / "left.json", direction="left", pad_id=1))
    found = read_samples(lines, bert(6), left).data
    assert found["input_ids"][1].tolist() == [1, 1, CLS, IDS["the"], IDS["dog"], SEP]
    assert found["attention_mask"][1].tolist() == [0, 0, 1, 1, 1, 1]
    assert found["position_ids"][1].tolist() == [0, 0, 0, 1, 2, 3]


def test_a_single_input_of_any_name_is_the_tokens(lines, reading) -> None:
    found = read_samples(lines, bert(names=("tokens",)), reading).data
    assert found["tokens"][1].tolist() == [CLS, IDS["the"], IDS["dog"], SEP, 0]


def _jsonl(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return path


def test_jsonl_has_labels(tmp_path, reading) -> None:
    rows = [{"text": "the cat", "label": 1, "id": "x"}, {"text": "unheard", "label": 0}]
    found = read_samples(_jsonl(tmp_path / "c.jsonl", *rows), bert(), reading)
    assert found.data["input_ids"].tolist() == [[CLS, IDS["the"], IDS["cat"], SEP], [CLS, IDS["[UNK]"], SEP, 0]]
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0]


@pytest.mark.parametrize("label, says", [(None, "line 2 of '.*' has no labels"), ("good", "not all finite numbers")])
def test_labels_that_are_lacking_or_no_numbers(tmp_path, reading, label, says) -> None:
    rows = [{"text": "the", "label": 1}, {"text": "cat", **({} if label is None else {"label": label})}]
    found = read_samples(_jsonl(tmp_path / "c.jsonl", *rows), bert(), reading)
    assert found.count == 2
    with pytest.raises(UsageError, match=says):
        _ = found.labels


def test_a_limit_is_spread_over_the_lines(tmp_path, reading) -> None:
    rows = [{"text": "the", "label": i} for i in range(10)]
    found = read_samples(_jsonl(tmp_path / "c.jsonl", *rows), bert(), reading, limit=4)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 2, 5, 7]
    assert found.about.endswith("c.jsonl (4 of 10 lines)")


@pytest.mark.parametrize("row", ["no json", "[1]", '"text"', '{"texts": "a"}', '{"text": 3}'])
def test_lines_that_are_no_text(tmp_path, reading, row) -> None:
    path = _jsonl(tmp_path / "c.jsonl", {"text": "the"}, row)
    with pytest.raises(UsageError, match=r"line 2 of '.*' is no object with a text; write \{\"text\": \"\.\.\.\"\}"):
        read_samples(path, bert(), reading)


def test_files_that_are_no_text(tmp_path, reading) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(UsageError, match=r"the text '.*a\.txt' can't be read: .*; save it as UTF-8"):
        read_samples(tmp_path / "a.txt", bert(), reading)
    (tmp_path / "b.txt").write_text("\n\n")
    with pytest.raises(UsageError, match=r"the text '.*b\.txt' holds no line; give one sample a line"):
        read_samples(tmp_path / "b.txt", bert(), reading)


def test_the_tokenizer_is_needed_and_has_to_be_one(lines, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"lines\.txt' is text; give its tokenizer by --tokenizer tokenizer\.json"):
        read_samples(lines, bert())
    with pytest.raises(UsageError, match=r"there is no tokenizer file '.*none\.json'"):
        read_samples(lines, bert(), Reading(tokenizer=tmp_path / "none.json"))
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UsageError, match=r"the tokenizer '.*bad\.json' can't be read \(.*\); give a tokenizer\.json"):
        read_samples(lines, bert(), Reading(tokenizer=tmp_path / "bad.json"))


@pytest.mark.parametrize(
    "target, options, says",
    [
        (bert(names=("input_ids", "past")), {}, "text fills input_ids, .*, this model takes 'past' too; give an .npz"),
        (bert(names=("attention_mask", "position_ids")), {}, "this model takes no input_ids"),
        (graph(x=(1, ["n", 3, 8, 8])), {}, r"input 'x' takes \['n', 3, 8, 8\], tokens of text are \(samples, length\)"),
        (bert(8), {"max_length": 9}, "--max-length 9 is more than the 8 tokens that input 'input_ids' takes"),
        (bert(), {"max_length": 1}, "the tokenizer adds more to every text than 1 tokens; raise --max-length"),
    ],
)
def test_models_that_text_does_not_serve(lines, reading, target, options, says) -> None:
    with pytest.raises(UsageError, match=says):
        read_samples(lines, target, Reading(tokenizer=reading.tokenizer, **options))


def test_texts_without_a_token(tmp_path) -> None:
    bare = Reading(tokenizer=word_level(tmp_path / "bare.json", marks=False))
    path = _jsonl(tmp_path / "c.jsonl", {"text": ""}, {"text": "  "})
    with pytest.raises(UsageError, match="the tokenizer finds no token in any of the texts; give the model's own"):
        read_samples(path, bert(), bare)


def test_a_tokenizer_that_fails(tmp_path) -> None:
    """It has no token for what it does not know."""
    bare = word_level(tmp_path / "bare.json", marks=False)
    bare.write_text(bare.read_text().replace('"[UNK]": 1', '"[NONE]": 1'))
    path = _jsonl(tmp_path / "c.jsonl", {"text": "horse"})
    with pytest.raises(UsageError, match=r"the tokenizer can't take these texts: .*; give the model's own"):
        read_samples(path, bert(), Reading(tokenizer=bare))


def test_without_the_library(lines, reading, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    says = r"text needs tokenizers \(.*\); install it in spa's own environment: pip install tokenizers"
    with pytest.raises(UsageError, match=says):
        read_samples(lines, bert(), reading)
