"""Labels are learned where they say more than the original does; which can't be learned is refused."""

from __future__ import annotations

import numpy as np
import pytest

import spa_cli
from spa_cli.errors import UsageError
from spa_cli.tuning.terms import VALUES
from tests.builders import build
from tests.samples import calib_path, model_path
from tests.tuning.nets import TEXT, images, net

SOFT = TEXT.replace("=> (logits)", "=> (p1)").replace("(f, w2, b2)", "(f, w2, b2)  p1 = Softmax(logits)")
PLACES = "(float[N,3,6,6] x) => (y) { a = Conv(x, w1)  r = Relu(a)  c = Conv(r, w2)  y = Softmax<axis=1>(c) }"


def _saved(tmp_path, **arrays):
    path = tmp_path / "calib.npz"
    np.savez(path, **arrays)
    return path


def _soft(width):
    parts = {t.name: t for t in net(width).graph.initializer}
    model = build(SOFT, w1=(width, 3, 3, 3), b1=(width,), w2=(4, width), b2=(4,))
    for tensor in model.graph.initializer:
        tensor.CopyFrom(parts[tensor.name])
    return model


def _hits(model, x, labels) -> float:
    from spa_cli.runtime.session import open_session, run

    return float((run(open_session(model), {"x": x})[0].argmax(1) == labels).mean())


@pytest.mark.parametrize("rows", [False, True])
def test_what_the_original_does_not_know_is_learned(tmp_path, rows) -> None:
    x, model = images(256), _soft(8)
    labels = (x[:, 0].mean((1, 2)) > 0).astype(np.int64)
    given = np.eye(4, dtype=np.float32)[labels] if rows else labels
    calib = _saved(tmp_path, x=x, labels=given)
    plain = spa_cli.tune(_soft(6), model, calib=calib, epochs=30, lr=0.02)
    told = spa_cli.tune(_soft(6), model, calib=calib, epochs=30, lr=0.02, labels=True)
    assert [t.told for t in told.tuned.terms] == [False, True]
    assert _hits(told.model, x, labels) > _hits(plain.model, x, labels) + 0.1
    assert told.tuned.training.best < 1


def test_values_are_learned_as_values(tmp_path) -> None:
    x, model = images(64), net(8)
    calib = _saved(tmp_path, x=x, labels=np.full((64, 4), 2.5, np.float32))
    told = spa_cli.tune(net(6), model, calib=calib, epochs=10, lr=0.02, labels=True)
    assert [(t.form, t.told) for t in told.tuned.terms] == [(VALUES, False), (VALUES, True)]


def test_labels_of_places_are_mixed_but_not_moved(tmp_path) -> None:
    small, model = build(PLACES, w1=(3, 3, 1, 1), w2=(4, 3, 1, 1)), build(PLACES, w1=(8, 3, 1, 1), w2=(4, 8, 1, 1))
    places = np.random.default_rng(0).integers(-1, 4, (64, 6, 6))
    calib = _saved(tmp_path, x=images(64), labels=places)
    told = spa_cli.tune(small, model, calib=calib, epochs=3, labels=True)
    assert told.tuned.ways == ("mix",)
    assert told.tuned.training.steps
    with pytest.raises(UsageError, match="augment crop moves what is in images, but not the labels of their places"):
        spa_cli.tune(small, model, calib=calib, epochs=1, labels=True, augment="crop")


def test_labels_that_are_not_there_or_fit_nothing(tmp_path) -> None:
    asked = {"epochs": 1, "labels": True}
    with pytest.raises(UsageError, match="labels=True learns what lies beside the samples, but there is no calib; add"):
        spa_cli.tune(net(6), net(8), **asked)
    with pytest.raises(UsageError, match="has none; add an array 'labels'"):
        spa_cli.tune(net(6), net(8), calib=_saved(tmp_path, x=images(16)), **asked)
    with pytest.raises(UsageError, match="labels=True: no output can be about labels of shape 16x3; give class"):
        spa_cli.tune(net(6), net(8), calib=_saved(tmp_path, x=images(16), labels=np.zeros((16, 3), int)), **asked)


def test_what_lies_beside_real_samples(tmp_path) -> None:
    source, calib = model_path("digits_resnet"), np.load(calib_path("digits_resnet"))
    small = tmp_path / "small.onnx"
    spa_cli.prune(source, small, target_macs=0.5, method="l1", round_to=1)
    x = calib[calib.files[0]]
    labels = np.arange(len(x)) % 10
    path = _saved(tmp_path, **{calib.files[0]: x, "labels": labels})
    result = spa_cli.tune(small, source, calib=path, epochs=1, labels=True)
    assert [t.told for t in result.tuned.terms if not t.inner] == [False, True]
