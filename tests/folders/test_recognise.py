"""Which folders are one model as it ships, and which are folders of models."""

from __future__ import annotations

import json
import shutil

import onnx
import pytest

from spa_cli.folders.recognise import model_folder
from tests.decoders import decoder
from tests.folders.making import genai, optimum


def test_what_optimum_and_genai_write(tmp_path) -> None:
    for make, file in ((optimum, "config.json"), (genai, "genai_config.json")):
        folder = model_folder(make(tmp_path / make.__name__))
        assert folder is not None
        assert folder.model == tmp_path / make.__name__ / "model.onnx"
        assert [config.file for config in folder.configs] == [file]
        assert folder.tokenizer == folder.path / "tokenizer.json"
        assert folder.cached


def test_both_files_may_be_there(tmp_path) -> None:
    folder = genai(tmp_path / "both")
    (folder / "config.json").write_text('{"text_config": {"hidden_size": 16}}')
    (folder / "tokenizer.json").unlink()
    found = model_folder(folder)
    assert found is not None
    assert [(c.file, c.inside) for c in found.configs] == [
        ("config.json", ("text_config",)), ("genai_config.json", ("model", "decoder"))
    ]  # fmt: skip
    assert found.tokenizer is None


def _two(folder) -> None:
    shutil.copy(folder / "model.onnx", folder / "other.onnx")


def _inside(folder) -> None:
    (folder / "onnx").mkdir()
    shutil.move(folder / "model.onnx", folder / "onnx" / "model.onnx")


def _another(folder) -> None:
    onnx.save(decoder("optimum"), str(folder / "model.onnx"))


def _text(text: str):
    return lambda folder: (folder / "config.json").write_text(text)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_two, id="two models"),
        pytest.param(_inside, id="the model in a folder of its own"),
        pytest.param(_another, id="no width of the model is what the file says"),
        pytest.param(lambda folder: (folder / "config.json").unlink(), id="no configuration"),
        pytest.param(lambda folder: (folder / "model.onnx").write_bytes(b"no model"), id="no model"),
        pytest.param(_text("{"), id="no JSON"),
        pytest.param(_text("[" * 100_000), id="deep"),
        pytest.param(_text("[12]"), id="no object"),
        pytest.param(_text('{"hidden_size": true, "d_model": "12", "dim": -12}'), id="no numbers"),
        pytest.param(_text(json.dumps({"text_config": [12]})), id="no object inside"),
    ],
)
def test_anything_else_is_a_folder_of_models(tmp_path, change) -> None:
    folder = optimum(tmp_path / "model")
    change(folder)
    assert model_folder(folder) is None


def test_a_file_is_none(tmp_path) -> None:
    assert model_folder(optimum(tmp_path / "model") / "model.onnx") is None
    assert model_folder(tmp_path / "missing") is None


def test_genai_has_to_name_the_file(tmp_path) -> None:
    assert model_folder(genai(tmp_path / "model", file="decoder.onnx")) is None
