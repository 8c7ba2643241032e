"""A language model writes by its own probabilities."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnxruntime as ort
import own_texts

from tests.builders import build

# token 1 is followed by 2 or 3, one as often as the other, those by 0, that by 1
AFTER = np.full((4, 4), -50, np.float32)
AFTER[1, 2:], AFTER[2:, 0], AFTER[0, 1] = 0, 0, 0


def model() -> onnx.ModelProto:
    return build("(int64[N,L] tokens) => (logits) { logits = Gather(w, tokens) }", w=AFTER)


def test_every_token_is_drawn_from_what_the_model_says_of_the_next() -> None:
    session = ort.InferenceSession(model().SerializeToString())
    texts = own_texts.written(session, 300, 7, 1, np.random.default_rng(0))
    assert texts.shape == (300, 7)
    assert (texts[:, ::3] == 1).all() and (texts[:, 2::3] == 0).all()
    assert {2, 3} == {*texts[:, 1]} and 100 < (texts[:, 1] == 2).sum() < 200


def test_they_lie_behind_those_that_are_known(monkeypatch, tmp_path) -> None:
    path, known, out = tmp_path / "m.onnx", tmp_path / "known.npz", tmp_path / "out.npz"
    onnx.save(model(), path)
    np.savez(known, tokens=np.full((2, 4), 3))
    asked = [str(path), str(out), "--count", "5", "--length", "4", "--beside", str(known)]
    monkeypatch.setattr(sys, "argv", ["own_texts.py", *asked])
    own_texts.main()
    (tokens,) = np.load(out).values()
    assert (tokens[:2] == 3).all() and (tokens[2:, 0] == 1).all() and tokens.shape == (7, 4)
