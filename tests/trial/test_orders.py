"""Two orders of channels: where it is in doubt which is better, both are carried out and the better file is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.errors import UnreachableError
from spa_cli.options import Options
from spa_cli.request import Request
from spa_cli.runtime.load import load
from spa_cli.trial import orders
from spa_cli.trial.orders import cut_by_budget, kept_of
from spa_cli.trial.prepare import Ranked, analyse, score
from spa_cli.trial.trials import Trials
from tests.builders import build, random

DETECTOR = """(float[N,3,32,32] x) => (y) {
  a = Conv<strides=[4,4]>(x, wa)  ar = Relu(a)
  b = Conv<strides=[2,2]>(ar, wb)  br = Relu(b)
  r = Conv(br, wr)
  o = Conv(br, wo)  so = Sigmoid(o)
  c = Conv(br, wc)  sc = Sigmoid(c)
  h = Concat<axis=1>(r, so, sc)  f = Reshape(h, s)  y = Transpose<perm=[0,2,1]>(f)
}"""
CLASSIFIER = """(float[N,3,32,32] x) => (y) {
  a = Conv<strides=[4,4]>(x, wa)  ar = Relu(a)
  b = Conv<strides=[2,2]>(ar, wb)  br = Relu(b)
  p = GlobalAveragePool(br)  q = Flatten(p)  y = MatMul(q, wy)
}"""
LAYERS = {"wa": (12, 3, 4, 4), "wb": (16, 12, 2, 2)}
HEADS = {"wr": (4, 16, 1, 1), "wo": (1, 16, 1, 1), "wc": (3, 16, 1, 1)}


def detector() -> onnx.ModelProto:
    weights = {name: random(shape, name) * 4 for name, shape in (LAYERS | HEADS).items()}
    return build(DETECTOR, s=[0, 8, -1], **weights)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("pictures") / "x.npz"
    np.savez(file, x=np.random.default_rng(0).normal(size=(96, 3, 32, 32)).astype(np.float32) * 0.25)
    return file


def ranked_of(model: onnx.ModelProto, **options: Any) -> tuple[Ranked, Request]:
    request = Request.of(Options(**{"target_macs": 0.6, "round_to": 1} | options))
    return score(analyse(load(model), request), request), request


def test_of_a_detector_two_orders_are_in_doubt(pictures) -> None:
    ranked, _ = ranked_of(detector(), calib=pictures)
    assert ranked.other is not None
    for one, other in zip(ranked.rankings, ranked.other, strict=True):
        assert sorted(one.order.tolist()) == sorted(other.order.tolist())
    assert any(not np.allclose(a.loss, b.loss) for a, b in zip(ranked.rankings, ranked.other, strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {"method": "l2"},
        {"repair": False},
        {"method": "obspa+l1"},
        {"rounds": 2},
        {"target_macs": None, "min_agreement": 0.5},
        {"work": "work"},
    ],
    ids=lambda options: next(reversed(options)),
)
def test_otherwise_there_is_one(pictures, options) -> None:
    assert ranked_of(detector(), calib=pictures, **options)[0].other is None


def test_of_one_answer_a_sample_there_is_one(pictures) -> None:
    assert ranked_of(build(CLASSIFIER, **LAYERS, wy=(16, 5)), calib=pictures)[0].other is None


@pytest.mark.parametrize(("kept", "taken"), [((0.5, 0.7), "other"), ((0.7, 0.5), "first"), ((0.6, 0.6), "first")])
def test_the_better_file_is_taken(pictures, monkeypatch, tmp_path, kept, taken) -> None:
    ranked, request = ranked_of(detector(), calib=pictures)
    found, made = iter(kept), list[bytes]()

    def measured(subject: object, small: Any, samples: object) -> float:
        made.append(small.staged.path.read_bytes())
        return next(found)

    monkeypatch.setattr(orders, "kept_of", measured)
    with Trials(ranked.subject, ranked.curvature, tmp_path / "s.onnx", "obspa") as trials:
        by, choice, small = cut_by_budget(ranked, request, trials)
        assert small.selection is choice.selection
        assert small.staged.path.read_bytes() == made[taken == "other"]
        assert by.rankings is (ranked.other if taken == "other" else ranked.rankings)
        assert small.done is not None and small.done.refitted and small.outputs is not None
    assert made[0] != made[1]
    assert not [*tmp_path.iterdir()]


def test_where_the_first_keeps_all_but_nothing_no_other_is_tried(pictures, monkeypatch) -> None:
    ranked, request = ranked_of(detector(), calib=pictures)
    monkeypatch.setattr(orders, "kept_of", lambda *_: 0.985)
    carried_out, tried = orders._carried_out, list[Any]()
    monkeypatch.setattr(orders, "_carried_out", lambda *given: (tried.append(given[0]), carried_out(*given))[1])
    with Trials(ranked.subject, ranked.curvature, None, "obspa") as trials:
        assert cut_by_budget(ranked, request, trials)[0] is ranked
    assert tried == [ranked]


def test_where_the_other_order_can_not_be_carried_out_the_first_is(pictures, monkeypatch, tmp_path) -> None:
    ranked, request = ranked_of(detector(), calib=pictures)
    choose, orders_seen = orders.choose_by_budget, list[Any]()

    def refuses(by: Ranked, *rest: Any) -> Any:
        orders_seen.append(by.rankings)
        if by.rankings is ranked.other:
            raise UnreachableError("not by this one")
        return choose(by, *rest)

    monkeypatch.setattr(orders, "choose_by_budget", refuses)
    with Trials(ranked.subject, ranked.curvature, tmp_path / "s.onnx", "obspa") as trials:
        by, _, small = cut_by_budget(ranked, request, trials)
        assert by is ranked and small.staged.path.exists()
    assert orders_seen == [ranked.rankings, ranked.other]


def test_what_is_kept_is_what_verify_says_of_the_samples_that_were_fitted_to(pictures, tmp_path) -> None:
    model = detector()
    ranked, request = ranked_of(model, calib=pictures)
    assert ranked.curvature is not None
    samples = ranked.curvature.calibration.first(64)
    with Trials(ranked.subject, ranked.curvature, None, "obspa") as trials:
        _, _, small = cut_by_budget(ranked, request, trials)
        kept = kept_of(ranked.subject, small, samples)
        small.staged.publish(tmp_path / "s.onnx", False)
    assert 64 <= samples.samples <= 84
    np.savez(tmp_path / "x.npz", x=np.concatenate([chunk["x"] for chunk in samples.chunks]))
    found = spa_cli.verify(model, tmp_path / "s.onnx", calib=tmp_path / "x.npz")
    assert found.drift.agreement == pytest.approx(kept)
    assert 0 < kept < 1


def test_the_plan_and_the_report_are_of_the_file_that_is_written(pictures, monkeypatch) -> None:
    model, found = detector(), iter([0.2, 0.3])
    monkeypatch.setattr(orders, "kept_of", lambda *_: next(found))
    result = spa_cli.prune(model, target_macs=0.6, round_to=1, calib=pictures)
    sliced = spa_cli.apply(result.plan, model)
    shapes = [[tuple(t.dims) for t in m.graph.initializer] for m in (result.model, sliced.model)]
    assert shapes[0] == shapes[1]
    assert result.plan.about["repair"]["refitted"]
