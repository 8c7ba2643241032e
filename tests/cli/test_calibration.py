"""Commands on samples that are no arrays: the same as on the arrays they stand for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import spa_cli
from spa_cli.errors import UsageError
from spa_cli.runtime.session import open_session
from spa_cli.verification.accuracy import hits
from tests.builders import build
from tests.calibration.words import CLS, IDS, SEP, word_level
from tests.cli.running import refused, spa
from tests.samples import model_path
from tests.samples import test_set as labelled_images

RESNET = model_path("digits_resnet")
COUNT = 120


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """Images of digits in a folder a class, what they hold in an .npz, and a function that gives the same."""
    place = tmp_path_factory.mktemp("digits")
    images, labels = (a[:COUNT] for a in labelled_images("digits_resnet"))
    pixels = np.round(images[:, 0] * 255).astype(np.uint8)
    order = np.argsort(labels, kind="stable")
    for at in order:
        file = place / "images" / str(labels[at]) / f"{at:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[at]).save(file)
    np.savez(place / "arrays.npz", image=pixels[order, None].astype(np.float32) / 255, labels=labels[order])
    (place / "spa_test_digits.py").write_text(
        "import numpy as np\n"
        "def batches():\n"
        "    with np.load('arrays.npz') as file:\n"
        "        data = dict(file)\n"
        "    for i in range(0, len(data['image']), 32):\n"
        "        yield {name: data[name][i:i + 32] for name in ('image', 'labels')}\n"
    )
    return place


def _pruned(out: Path, *options: object) -> onnx.ModelProto:
    done = spa("prune", RESNET, "-o", out, "--target-macs", 0.5, "--method", "wanda", *options)
    assert done.code == 0, done.err
    return onnx.load(out)


def test_images_and_functions_are_the_arrays_they_stand_for(digits, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(digits)
    expected = _pruned(tmp_path / "a.onnx", "--calib", "arrays.npz")
    assert _pruned(tmp_path / "b.onnx", "--calib", "images") == expected
    assert _pruned(tmp_path / "c.onnx", "--calib", "spa_test_digits:batches") == expected
    blind = _pruned(tmp_path / "d.onnx", "--calib", "images", "--mean", 0.9)
    assert blind != expected


def test_sub_folders_are_labels_that_accuracy_counts(digits, tmp_path) -> None:
    plan = tmp_path / "plan.json"
    test = ("--method", "l2", "--min-accuracy", 0.9, "--test", digits / "images", "--plan-out", plan)
    done = spa("prune", RESNET, "-o", tmp_path / "s.onnx", *test, "--json")
    assert done.code == 0, done.err
    with np.load(digits / "arrays.npz") as file:
        data = dict(file)
    (scores,) = open_session(str(tmp_path / "s.onnx")).run(None, {"image": data["image"]})
    met = hits(scores, data["labels"])
    assert met is not None
    assert met.mean() >= 0.9


def test_verify_reads_as_prune_does(digits, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(digits)
    _pruned(tmp_path / "s.onnx", "--method", "l2")
    found = []
    for calib in ("arrays.npz", "images", "spa_test_digits.py:batches"):
        done = spa("verify", RESNET, tmp_path / "s.onnx", "--calib", calib, "--json")
        assert done.code == 0, done.err
        found.append(json.loads(done.out)["drift"])
    about = [drift.pop("samples") for drift in found]
    said = ("arrays.npz", f"images ({COUNT} images, 8x8)", "spa_test_digits.py:batches")
    assert about == [f"{COUNT} samples of {source}" for source in said]
    assert found[0] == found[1] == found[2]
    moved = spa("verify", RESNET, tmp_path / "s.onnx", "--calib", "images", "--std", "0.5", "--json")
    assert json.loads(moved.out)["drift"]["relative_l2"] != found[0]["relative_l2"]


def test_a_sweep_knows_its_samples_again(digits, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spa_test_swept.py").write_text((digits / "spa_test_digits.py").read_text())
    (tmp_path / "arrays.npz").write_bytes((digits / "arrays.npz").read_bytes())
    swept = ("sweep", RESNET, "-o", "s", "--method", "l2", "--points", 0.7, "--calib", "spa_test_swept.py:batches")
    first = spa(*swept, "--json")
    assert first.code == 0, first.err
    assert json.loads(first.out)["points"][0]["accuracy"] > 0.5
    assert spa(*swept, "--json").out == first.out
    assert "(mean differ)" in refused(2, *swept, "--mean", 0.5)
    with (tmp_path / "spa_test_swept.py").open("a") as file:
        file.write("# changed\n")
    assert "(calib differ)" in refused(2, *swept)


@pytest.fixture
def tokens() -> onnx.ModelProto:
    """Words that are attended to where the mask says so."""
    return build(
        """(int64[N,T] input_ids, int64[N,T] attention_mask) => (float[N,T,3] y) {
          e = Gather(table, input_ids)
          q = MatMul(e, wq)
          k = MatMul(e, wk)
          kt = Transpose<perm=[0,2,1]>(k)
          s = MatMul(q, kt)
          m = Cast<to=1>(attention_mask)
          u = Unsqueeze(m, axes)
          l = Mul(s, u)
          p = Softmax<axis=-1>(l)
          v = MatMul(e, wv)
          o = MatMul(p, v)
          h = MatMul(o, w1)
          r = Relu(h)
          y = MatMul(r, w2)
        }""",
        axes=[1],
        table=(8, 12),
        wq=(12, 8),
        wk=(12, 8),
        wv=(12, 10),
        w1=(10, 16),
        w2=(16, 3),
    )


def test_text_is_the_tokens_it_stands_for(tokens, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(tokens, "m.onnx")
    word_level(Path("tokenizer.json"))
    words, rng = [n for n in IDS if "[" not in n], np.random.default_rng(0)
    # of two that are the same, one held back to judge on, the other is not fitted to
    texts = sorted({" ".join(rng.choice(words, rng.integers(3, 7))) for _ in range(80)})[:64]
    assert len(texts) == 64
    Path("lines.txt").write_text("\n".join(texts))
    rows = [[CLS, *(IDS[w] for w in text.split()), SEP] for text in texts]
    ids = np.array([row + [0] * (8 - len(row)) for row in rows])
    np.savez("arrays.npz", input_ids=ids, attention_mask=(ids != 0).astype(int))
    made = []
    for out, options in (
        ("a.onnx", ("--calib", "arrays.npz")),
        ("b.onnx", ("--calib", "lines.txt", "--tokenizer", "tokenizer.json")),
    ):
        done = spa("prune", "m.onnx", "-o", out, "--ratio", 0.4, "--plan-out", f"{out}.json", *options)
        assert done.code == 0, done.err
        made.append(onnx.load(out))
    assert made[0] == made[1] != tokens
    about = json.loads(Path("b.onnx.json").read_text())["repair"]
    assert about["calibration"] == "56 samples of lines.txt (64 lines)"
    says = refused(2, "prune", "m.onnx", "-o", "c.onnx", "--ratio", 0.4, "--calib", "lines.txt")
    assert says == "'lines.txt' is text; give its tokenizer by --tokenizer tokenizer.json"
    assert not Path("c.onnx").exists()


@pytest.mark.parametrize("command", ["prune", "sweep", "verify"])
def test_options_that_mean_nothing(digits, tmp_path, command) -> None:
    rest = {"prune": ("-o", tmp_path / "s.onnx", "--ratio", 0.3), "sweep": ("-o", tmp_path / "s"), "verify": (RESNET,)}
    told = refused(2, command, RESNET, *rest[command], "--calib", digits / "images", "--std", 0)
    assert told == "--std has to be positive, not 0"


def test_in_python_the_function_itself(tmp_path) -> None:
    images, labels = labelled_images("digits_resnet")
    given = {"image": images[:COUNT], "labels": labels[:COUNT]}
    result = spa_cli.prune(RESNET, ratio=0.3, method="wanda", calib=lambda: given)
    np.savez(tmp_path / "c.npz", **given)
    assert result.model == spa_cli.prune(RESNET, ratio=0.3, method="wanda", calib=str(tmp_path / "c.npz")).model
    by_function = spa_cli.verify(RESNET, result.model, calib=lambda: iter([given]))
    by_file = spa_cli.verify(RESNET, result.model, calib=tmp_path / "c.npz")
    assert by_function.drift == by_file.drift
    with pytest.raises(UsageError, match="std has to be positive"):
        spa_cli.verify(RESNET, result.model, calib=lambda: given, std=0)
