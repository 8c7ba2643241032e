"""Cuts that are tried: what survives, what is left behind, which group is to blame."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from spa_cli.analysis import Analysis
from spa_cli.channels.selection import Selection
from spa_cli.errors import CutError, VerificationError
from spa_cli.obspa.sides import Repair
from spa_cli.options import Options
from spa_cli.request import Request
from spa_cli.runtime.load import load
from spa_cli.trial import trials as module
from spa_cli.trial.prepare import Ranked, analyse, score
from spa_cli.trial.trials import Trials
from tests.builders import build, solver_of
from tests.samples import model_path

MLP = model_path("digits_mlp")


@pytest.fixture
def ranked() -> Ranked:
    request = Request.of(Options(ratio=0.5, method="l2"))
    return score(analyse(load(MLP), request), request)


def half(ranked: Ranked) -> Selection:
    solver = solver_of(ranked.subject.analysis, ranked.rankings)
    found = solver.solve({"channels": 0.5})
    assert found is not None
    return solver.menu.selection(found.gone)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """Where what is not finished lies."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def staged(place: Path) -> list[Path]:
    return sorted(place.glob(".spa-*/*.onnx"))


def test_nothing_is_left_when_the_with_ends(ranked, tmp_path, place) -> None:
    with pytest.raises(KeyboardInterrupt), Trials(ranked.subject, None, tmp_path / "s.onnx", "l2") as trials:
        trials.attempt(half(ranked))
        assert [p.name for p in staged(place)] == ["s.onnx"]
        raise KeyboardInterrupt
    assert staged(tmp_path) == staged(place) == []
    assert list(tmp_path.iterdir()) == [place]


def test_an_attempt_takes_the_place_of_the_one_before_unless_that_is_kept(ranked, tmp_path, place) -> None:
    with Trials(ranked.subject, None, tmp_path / "s.onnx", "l2") as trials:
        first = trials.attempt(half(ranked))
        second = trials.attempt(half(ranked))
        assert staged(place) == [second.staged.path]
        trials.keep()
        third = trials.attempt(half(ranked))
        assert staged(place) == sorted([second.staged.path, third.staged.path])
        trials.keep()
        assert staged(place) == [third.staged.path]
        assert trials.cut(third.selection) is third
        assert trials.cut(first.selection) not in (first, second, third)


def test_what_was_tried_is_cut_once(ranked, monkeypatch) -> None:
    cuts = []
    monkeypatch.setattr(Analysis, "cut", lambda *a, cut=Analysis.cut: (cuts.append(1), cut(*a))[1])
    with Trials(ranked.subject, None, None, "l2") as trials:
        selection = half(ranked)
        trial = trials.attempt(selection)
        assert trials.cut(selection) is trial
        trials.repair(trial)
        trials.verify(trial)
    assert len(cuts) == 1
    assert trial.done is None


def test_culprits_are_found_by_halving(ranked, monkeypatch) -> None:
    verify = module.verify_file
    blamed = max(half(ranked).kept)
    trying: list[set[int]] = []

    def breaks(path, *given, **named):
        if blamed in trying[-1]:
            raise VerificationError("it broke")
        return verify(path, *given, **named)

    attempt = Trials.attempt
    monkeypatch.setattr(module, "verify_file", breaks)
    monkeypatch.setattr(Trials, "attempt", lambda self, s, **n: (trying.append({*s.kept}), attempt(self, s, **n))[1])
    with Trials(ranked.subject, None, None, "l2") as trials:
        with pytest.raises(VerificationError, match="it broke"):
            trials.attempt(half(ranked))
        assert trials.culprits(half(ranked), "together") == {blamed: "it broke"}


@pytest.mark.parametrize("error", [KeyError("gone"), TypeError("no"), IndexError()])
def test_a_programming_error_is_no_verdict_on_a_group(ranked, monkeypatch, error) -> None:
    def slips(*_: object) -> None:
        raise error

    monkeypatch.setattr(Analysis, "cut", slips)
    with Trials(ranked.subject, None, None, "l2") as trials, pytest.raises(type(error)):
        trials.culprits(half(ranked), "")


@pytest.mark.parametrize("error", [CutError("the size would change"), ValueError("the size would change")])
def test_what_can_not_be_cut_is(ranked, monkeypatch, error) -> None:
    def refuses(*_: object) -> None:
        raise error

    monkeypatch.setattr(Analysis, "cut", refuses)
    with Trials(ranked.subject, None, None, "l2") as trials:
        assert set(trials.culprits(half(ranked), "").values()) == {"the size would change"}


class Spoils:
    """A repair whose result does not pass verification."""

    def repair(self, work) -> Repair:
        for tensor in work.model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                nothing = np.full(tensor.dims, np.nan, np.float32)
                tensor.CopyFrom(numpy_helper.from_array(nothing, tensor.name))
        return Repair(refitted={"everything": 0.0})


def test_a_repair_that_does_not_pass_gives_way_to_the_cut(ranked) -> None:
    selection = half(ranked)
    with Trials(ranked.subject, None, None, "l2") as plain:
        expected = plain.attempt(selection).staged.path.read_bytes()
    with Trials(ranked.subject, Spoils(), None, "l2") as trials:
        small = trials.attempt(selection, repair=True)
        assert small.staged.path.read_bytes() == expected
    assert small.done is not None
    assert small.done.dropped.endswith("of the result is not finite")
    assert not small.done.refitted


def test_the_file_of_a_cut_has_no_more_constants_of_blocks_than_it_needs(tmp_path) -> None:
    """Cut, repaired, verified; where the layer before takes one up, no sum is left."""
    text = """(float[N,16] x) => (y) {
      t = MatMul(x, ws)  s = Add(t, p)  a = MatMul(s, w1)  r = Relu(a)  b = MatMul(r, w2)  c = Add(b, o)  j = Add(s, c)
      y = MatMul(j, wy)
    }"""
    model = build(text, ws=(16, 8), w1=(8, 9), w2=(9, 8), o=(8,), p=(8,), wy=(8, 3))
    request = Request.of(Options(ratio=0.5))
    ranked = score(analyse(load(model), request), request)
    (block,) = ranked.subject.analysis.blocks.values()
    selection = Selection(ranked.subject.analysis.grouping).copy_emptied(block.groups)
    with Trials(ranked.subject, ranked.curvature, tmp_path / "s.onnx", "obspa") as trials:
        trial = trials.attempt(selection, repair=True)
        assert trial.done is not None
        assert not trial.done.dropped
        written = onnx.load(trial.staged.path)
    # what may be repaired once more still has the one that stands for the block
    assert [n.op_type for n in trial.work.model.graph.node] == ["MatMul", "Add", "Add", "MatMul"]
    assert [n.op_type for n in written.graph.node] == ["MatMul", "Add", "MatMul"]
    assert list(trial.work.held) == ["j"]
