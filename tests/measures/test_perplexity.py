"""Perplexity on the tokens that follow: found where they are known, measured, a budget, a gate, a column of sweeps."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import spa_cli
from spa_cli.errors import UnreachableError, UsageError, VerificationError
from tests.builders import build
from tests.cli.running import spa

VOCABULARY, WIDTH, LENGTH = 12, 24, 9
# what is said depends on the token at hand alone, or on all of them
_LEFT = """(int64[N,L] ids) => (float[N,L,12] logits) {
  e = Gather(words, ids)  h = MatMul(e, wa)  r = Relu(h)  logits = MatMul(r, wb)
}"""
_AROUND = """(int64[N,L] ids) => (float[N,L,12] logits) {
  e = Gather(words, ids)  m = ReduceMean<axes=[1]>(e)  a = Add(e, m)
  h = MatMul(a, wa)  r = Relu(h)  logits = MatMul(r, wb)
}"""


def _model(text=_LEFT):
    rng = np.random.default_rng(0)
    words, wa, wb = ((VOCABULARY, 8), (8, WIDTH), (WIDTH, VOCABULARY))
    weights = {"words": words, "wa": wa, "wb": wb}
    drawn = {n: rng.normal(0, 1 if n == "words" else 0.6, s).astype(np.float32) for n, s in weights.items()}
    return build(text, opset=13, **drawn)


def _logits(model, ids):
    return ort.InferenceSession(model.SerializeToString()).run(None, {"ids": ids})[0].astype(np.float64)


def _text(model, count=40):
    """Sentences as a model of bigrams writes them."""
    rng, ids = np.random.default_rng(1), np.zeros((count, LENGTH), np.int64)
    scores = _logits(model, np.arange(VOCABULARY)[None])[0]
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    ids[:, 0] = rng.integers(0, VOCABULARY, count)
    for at in range(1, LENGTH):
        ids[:, at] = [rng.choice(VOCABULARY, p=chances[before]) for before in ids[:, at - 1]]
    return ids


def _perplexity(model, ids, truth=None):
    scores = _logits(model, ids)
    truth = np.concatenate([ids[:, 1:], np.full((len(ids), 1), -1)], 1) if truth is None else truth
    logs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    found = [logs[i, t, truth[i, t]] for i, t in np.argwhere(truth >= 0)]
    return np.exp(-np.mean(found))


@pytest.fixture
def texts(tmp_path) -> Path:
    file = tmp_path / "text.npz"
    np.savez(file, ids=_text(_model()))
    return file


def test_the_tokens_that_go_in_tell_what_follows(texts) -> None:
    model, ids = _model(), np.load(texts)["ids"]
    small = spa_cli.prune(model, ratio=0.5, method="l2", round_to=1).model
    found = spa_cli.verify(model, small, calib=texts).drift.perplexity
    dense, pruned = (_perplexity(m, ids) for m in (model, small))
    assert found.by == "next tokens of 'ids'"
    assert found.before.value == pytest.approx(dense, rel=1e-4)
    assert found.after.value == pytest.approx(pruned, rel=1e-4)
    assert found.ratio.value == pytest.approx(pruned / dense, rel=1e-4) and found.ratio.value > 1.05
    assert found.ratio.low < found.ratio.value < found.ratio.high


def test_a_model_that_looks_ahead_is_measured_on_what_the_original_would_say(texts) -> None:
    model, ids = _model(_AROUND), np.load(texts)["ids"]
    small = spa_cli.prune(model, ratio=0.5, method="l2", round_to=1).model
    found = spa_cli.verify(model, small, calib=texts).drift.perplexity
    p, q = (v - np.log(np.exp(v).sum(-1, keepdims=True)) for v in (_logits(m, ids) for m in (model, small)))
    assert (found.by, found.before, found.after) == ("what the original would say", None, None)
    assert found.ratio.value == pytest.approx(np.exp((np.exp(p) * (p - q)).sum(-1).mean()), rel=1e-4)


def test_labels_say_what_follows_and_negative_ones_nothing(texts, tmp_path) -> None:
    model, ids = _model(_AROUND), np.load(texts)["ids"]
    labels = np.random.default_rng(2).integers(-1, VOCABULARY, ids.shape)
    np.savez(tmp_path / "labelled.npz", ids=ids, labels=labels)
    small = spa_cli.prune(model, ratio=0.5, method="l2", round_to=1).model
    found = spa_cli.verify(model, small, calib=tmp_path / "labelled.npz").drift.perplexity
    assert found.by == "labels of 'logits'"
    assert found.after.value == pytest.approx(_perplexity(small, ids, labels), rel=1e-4)


def test_masked_tokens_do_not_count(tmp_path) -> None:
    text = _LEFT.replace("ids) =>", "ids, int64[N,L] attention_mask) =>").replace("logits = MatMul(r, wb)", """
        m = Cast<to=1>(attention_mask)  u = Unsqueeze(m, last)  k = Mul(r, u)  logits = MatMul(k, wb)""")  # fmt: skip
    plain, ids = _model(), _text(_model())
    drawn = {t.name: np.frombuffer(t.raw_data, np.float32).reshape(t.dims) for t in plain.graph.initializer}
    model = build(text, opset=13, last=[2], **drawn)
    mask = np.ones_like(ids)
    mask[:, 6:] = 0
    np.savez(tmp_path / "m.npz", ids=ids, attention_mask=mask)
    found = spa_cli.verify(model, model, calib=tmp_path / "m.npz").drift.perplexity
    assert found.ratio.value == 1
    assert found.before.value == pytest.approx(_perplexity(plain, ids[:, :6]), rel=1e-4)


def test_it_is_a_budget_kept_and_used_up(texts) -> None:
    model, ids = _model(), np.load(texts)["ids"]
    dense = _perplexity(model, ids)
    strict, loose = (
        spa_cli.prune(model, method="l2", max_perplexity_ratio=r, test=texts, round_to=1) for r in (1.02, 1.5)
    )
    for result, most in ((strict, 1.02), (loose, 1.5)):
        assert _perplexity(result.model, ids) / dense <= most
        assert result.drift.perplexity.ratio.value <= most
    assert loose.after.params < strict.after.params < strict.before.params
    says = r"max_perplexity_ratio 1 can't be kept: perplexity on what the original would say is 1\.\d+ times"
    with pytest.raises(UnreachableError, match=says):
        spa_cli.prune(_model(_AROUND), method="l2", max_perplexity_ratio=1, test=texts, round_to=1)


def test_it_is_a_gate_of_prune_and_of_verify(texts, tmp_path) -> None:
    model, out = _model(), tmp_path / "out.onnx"
    asked = {"method": "l2", "ratio": 0.5, "calib": texts, "round_to": 1}
    with pytest.raises(VerificationError, match=r"perplexity [\d.]+ times the original's on next tokens of 'ids', not"):
        spa_cli.prune(model, out, max_perplexity_ratio=1.001, **asked)
    assert not out.exists()
    spa_cli.prune(model, out, max_perplexity_ratio=50, **asked)
    (tmp_path / "in.onnx").write_bytes(model.SerializeToString())
    arguments = ("verify", tmp_path / "in.onnx", out, "--calib", texts, "--json", "--max-perplexity-ratio")
    codes = {}
    for most in (1.001, 50):
        ran = spa(*arguments, most)
        report = json.loads(ran.out)
        codes[most] = ran.code
        (gate,) = report["gates"]
        assert gate["found"] == report["drift"]["perplexity"]["ratio"]
    assert codes == {1.001: 1, 50: 0}
    assert "perplexity" in spa(*(a for a in arguments if a != "--json"), 50).out


def test_a_sweep_has_a_column_of_it(texts, tmp_path) -> None:
    found = spa_cli.sweep(_model(), tmp_path / "s", by="params", points="0.8,0.5", calib=texts, method="l2")
    rows = list(csv.DictReader((tmp_path / "s" / "sweep.csv").read_text().splitlines()))
    for point, row in zip(found.points, rows, strict=True):
        assert point.perplexity_ratio == float(row["perplexity_ratio"]) > 1
        assert point.perplexity == float(row["perplexity"]) > 2
        assert point.loss == point.perplexity_ratio
    assert found.points[0].perplexity < found.points[1].perplexity


def test_what_has_no_scores_of_tokens_is_refused(tmp_path) -> None:
    net = build("(float[N,4] x) => (y) { h = MatMul(x, w1) r = Relu(h) y = MatMul(r, w2) }", w1=(4, 48), w2=(48, 3))
    says = "max_perplexity_ratio can't be measured: no output is taken for scores of tokens"
    with pytest.raises(UsageError, match=says):
        spa_cli.prune(net, method="l2", max_perplexity_ratio=1.1)
    with pytest.raises(UsageError, match=says):
        spa_cli.prune(net, method="l2", ratio=0.5, max_perplexity_ratio=1.1)
    with pytest.raises(UsageError, match=says):
        spa_cli.verify(net, net, max_perplexity_ratio=1.1)
    with pytest.raises(UsageError, match=r"max_perplexity_ratio has to be at least 1 \(1.1 allows a tenth more\), not"):
        spa_cli.prune(net, method="l2", max_perplexity_ratio=0.9)
