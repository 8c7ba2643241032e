"""Commands that look at models take model folders, and read text as those do."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

import spa_cli
from tests.cli.running import contents, refused, spa
from tests.folders.making import generate, optimum, said


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    folder, out = optimum(tmp_path / "model"), tmp_path / "small"
    spa_cli.prune(folder, out, method="l1", target_params=0.7)
    (tmp_path / "texts.txt").write_text("the cat sat\nthe dog sat\n" * 8)
    return folder, out


def test_inspect(pair) -> None:
    folder, _ = pair
    ran = spa("inspect", folder, "--json")
    assert ran.code == 0, ran.err
    alone = json.loads(spa("inspect", folder / "model.onnx", "--json").out)
    assert json.loads(ran.out) == alone and alone["groups"]


def test_verify_reads_text_by_the_folders_tokenizer(pair, tmp_path) -> None:
    folder, out = pair
    ran = spa("verify", folder, out, "--calib", tmp_path / "texts.txt", "--json")
    assert ran.code == 0, ran.err
    drift = json.loads(ran.out)["drift"]
    assert drift["samples"].startswith("16 samples of ") and drift["perplexity"]["ratio"] > 0
    # a file alone has none
    text = refused(2, "verify", folder / "model.onnx", out, "--calib", tmp_path / "texts.txt")
    assert "--tokenizer" in text


def test_sweep(pair, tmp_path) -> None:
    folder, _ = pair
    asked = ("--points", 0.8, "--by", "params", "--method", "l1", "--calib", tmp_path / "texts.txt", "--json")
    ran = spa("sweep", folder, "-o", tmp_path / "curve", *asked)
    assert ran.code == 0, ran.err
    (point,) = json.loads(ran.out)["points"]
    assert point["params"] <= 0.8 and point["perplexity_ratio"] > 0


def test_tune_writes_a_folder_whose_model_alone_is_another(pair, tmp_path) -> None:
    folder, out = pair
    target, before = tmp_path / "tuned", contents(out)
    asked = ("--teacher", folder, "--calib", tmp_path / "texts.txt", "--epochs", 2, "--json")
    ran = spa("tune", out, *asked, "-o", target)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["output"] == str(target)
    after = contents(target)
    assert after.keys() == before.keys() and contents(out) == before
    assert {name for name in after if after[name] != before[name]} <= {"model.onnx"}
    assert said(target) == said(out)
    assert len(generate(target, 3)) == 32
    asked = asked[:-1]
    text = refused(2, "tune", out, *asked, "-o", target)
    assert text.startswith(f"the output folder '{target}' exists")
    text = refused(2, "tune", out, *asked, "-o", tmp_path / "t.onnx")
    assert text.startswith("a model folder becomes a folder, and --output")


def test_tune_of_a_folder_whose_weights_lie_beside_the_model(pair, tmp_path) -> None:
    """They are the trained ones, once, and not those that were there."""
    folder, out = pair
    model = onnx.load(str(out / "model.onnx"))
    onnx.save(
        model, str(out / "model.onnx"), save_as_external_data=True, location="model.onnx.data", size_threshold=200
    )
    found = spa_cli.tune(out, folder, tmp_path / "tuned", calib=tmp_path / "texts.txt", epochs=1)
    assert found.out == tmp_path / "tuned"
    assert sorted(contents(tmp_path / "tuned")) == sorted(contents(out))
    assert len(generate(tmp_path / "tuned", 3)) == 32


def test_tune_of_a_file_by_a_folder(pair, tmp_path) -> None:
    folder, out = pair
    found = spa_cli.tune(out / "model.onnx", folder, epochs=1, calib=tmp_path / "texts.txt")
    assert found.original.path == folder / "model.onnx"
