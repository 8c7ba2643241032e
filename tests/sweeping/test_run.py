"""A sweep: points, what is resumed, what is drawn."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.errors import UnreachableError, UsageError, VerificationError
from spa_cli.options import Options
from spa_cli.report import curve
from spa_cli.report.curve import check_picture, draw
from spa_cli.sweeping import budgets, run
from spa_cli.sweeping.points import Point, mark_pareto
from tests.cli.running import spa
from tests.samples import FOLDER, model_path

RESNET = model_path("digits_resnet")
TEST = FOLDER / "digits_resnet_test.npz"


def sweep(folder, model=RESNET, budgets=(0.8, 0.5), options=None, **more) -> run.Sweep:
    chosen = options or Options(ratio=0.5, method="l2", test=TEST)
    return run.sweep(model, folder, chosen, budgets=budgets, **more)


def test_points_say_what_is_left(tmp_path) -> None:
    found = sweep(tmp_path / "s")
    assert [p.asked for p in found.points] == [0.8, 0.5]
    for point in found.points:
        assert point.asked - 0.02 <= point.macs <= point.asked
        result = spa_cli.prune(RESNET, method="l2", target_macs=point.asked)
        assert point.params == result.after.params / result.before.params
        assert point.bytes == pytest.approx(result.after.bytes / result.before.bytes, rel=0.01)
        assert point.seconds[0] > 0
        assert point.latency == point.seconds[1] / point.seconds[0]
    assert found.points[0].drift < found.points[1].drift
    assert found.points[0].accuracy > found.points[1].accuracy > 0.1
    assert found.original.accuracy == pytest.approx(0.9916, abs=1e-3)


def test_sensitivity_is_the_drift_of_half_a_group_alone(tmp_path) -> None:
    found = sweep(tmp_path / "s", budgets=(0.9,))
    analysis = spa_cli.inspect(RESNET)
    assert {s.group for s in found.sensitivity} == {g.name for g in analysis.grouping.groups}
    drifts = [s.drift for s in found.sensitivity]
    assert drifts == sorted(drifts, reverse=True)
    assert all(0 < s.macs < 1 and 0 < s.params < 1 for s in found.sensitivity)


def test_another_sweep_that_is_at_work_there_is_not_written_over(tmp_path, monkeypatch) -> None:
    choose = budgets.cut_by_budget

    def meanwhile(*given):
        (tmp_path / "s" / "sweep.json").write_text("of another")
        return choose(*given)

    monkeypatch.setattr(budgets, "cut_by_budget", meanwhile)
    with pytest.raises(UsageError, match=r"another sweep is at work in '.*s'; wait until it is done, or name another"):
        sweep(tmp_path / "s", budgets=(0.8,))
    assert (tmp_path / "s" / "sweep.json").read_text() == "of another"


def test_a_sweep_goes_on_where_it_stopped(tmp_path, monkeypatch) -> None:
    folder, calls = tmp_path / "s", []
    choose = budgets.cut_by_budget

    def interrupted(ranked, request, trials):
        calls.append(request.options.target_macs)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return choose(ranked, request, trials)

    monkeypatch.setattr(budgets, "cut_by_budget", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(folder, budgets=(0.9, 0.7, 0.5))
    assert sorted(p.name for p in folder.iterdir()) == ["sweep.json"]
    found = sweep(folder, budgets=(0.9, 0.7, 0.5))
    assert calls == [0.9, 0.7, 0.7, 0.5]
    assert [p.asked for p in found.points] == [0.9, 0.7, 0.5]
    assert [asdict(p) for p in sweep(folder, budgets=(0.9, 0.7, 0.5)).points] == [asdict(p) for p in found.points]
    assert len(calls) == 4


def test_a_folder_of_another_sweep_is_refused(tmp_path) -> None:
    sweep(tmp_path / "s", budgets=(0.9,))
    other = Options(ratio=0.5, method="l1", test=TEST)
    with pytest.raises(UsageError, match=r"sweep of something else \(method differ\)"):
        sweep(tmp_path / "s", budgets=(0.9,), options=other)
    assert len(sweep(tmp_path / "s", budgets=(0.9,), options=other, force=True).points) == 1


def test_a_file_that_is_no_sweep_is_refused(tmp_path) -> None:
    (tmp_path / "sweep.json").write_text("[]")
    with pytest.raises(UsageError, match="is no sweep; use --force to replace it"):
        sweep(tmp_path, budgets=(0.9,))


def test_models_are_kept_if_asked(tmp_path) -> None:
    sweep(tmp_path / "s", budgets=(0.6,), keep_models=True)
    kept = onnx.load(tmp_path / "s" / "macs-0.6.onnx")
    onnx.checker.check_model(kept, full_check=True)
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["macs-0.6.onnx", "sweep.json"]


def test_a_budget_that_can_not_be_met_is_a_point_that_says_so(tmp_path) -> None:
    options = Options(ratio=0.5, method="l2", test=TEST, max_group_ratio=0.4)
    found = sweep(tmp_path / "s", budgets=(0.8, 0.01), options=options)
    assert not found.points[0].refused
    assert "can't be reached" in found.points[1].refused
    with pytest.raises(UnreachableError, match="none of the budgets"):
        sweep(tmp_path / "t", budgets=(0.01,), options=options)


def test_the_pareto_front() -> None:
    points = [Point(0.9, macs=0.9, drift=0.1), Point(0.5, macs=0.5, drift=0.4), Point(0.6, macs=0.6, drift=0.5)]
    refused = Point(0.1, refused="no")
    assert [p.pareto for p in mark_pareto([*points, refused])] == [True, True, False, False]
    judged = [Point(0.9, macs=0.9, drift=0.1, accuracy=0.8), Point(0.5, macs=0.5, drift=0.4, accuracy=0.9)]
    assert [p.pareto for p in mark_pareto(judged)] == [False, True]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".html"])
def test_pictures(tmp_path, suffix) -> None:
    folder, file = tmp_path / "s", tmp_path / f"curve{suffix}"
    done = spa("sweep", RESNET, "-o", folder, "--method", "l2", "--points", "0.8,0.5", "--picture", file)
    assert done.code == 0, done.err
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".html": b"<!doctype html>"}[suffix]
    assert file.read_bytes().startswith(start)
    if suffix == ".html":
        page = file.read_text()
        assert "<svg" in page
        assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
            "http://creativecommons.org", ""
        ).replace("https://matplotlib.org", "")


def test_a_picture_of_another_kind_is_refused_before_any_work(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"has to end in one of .html, .pdf, .png, .svg"):
        check_picture(tmp_path / "curve.gif", False)
    (tmp_path / "curve.svg").write_text("precious")
    with pytest.raises(UsageError, match=r"curve\.svg' exists; use --force to draw it anew"):
        check_picture(tmp_path / "curve.svg", False)
    check_picture(tmp_path / "curve.svg", True)


def test_a_picture_that_can_not_be_written(tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(curve, "_figure", full)
    with pytest.raises(UsageError, match=r"can't be written: No space left on device; name another file"):
        draw(None, tmp_path / "curve.svg")
    assert not list(tmp_path.iterdir())


def test_the_command_prints_json_and_writes_csv(tmp_path) -> None:
    done = spa(
        "sweep", RESNET, "-o", tmp_path / "s", "--method", "l1", "--points", "0.7,0.4", "--json", "--by", "params"
    )
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    assert printed["schema"] == "spa.sweep/1"
    rows = list(csv.DictReader((tmp_path / "s" / "sweep.csv").read_text().splitlines()))
    assert [float(r["asked"]) for r in rows] == [0.7, 0.4]
    for row, point in zip(rows, printed["points"], strict=True):
        np.testing.assert_allclose(float(row["params"]), point["params"])
        assert float(row["params"]) <= float(row["asked"])


@pytest.mark.parametrize(
    "options, code, says",
    [
        (["--points", "a,b"], 2, "is not a list of numbers"),
        (["--points", "1.5"], 2, "between 0 and 1"),
        (["--by", "size"], 2, "--by size can't be swept; use one of"),
        (["--picture", "x.gif"], 2, "has to end in one of"),
        (["--eval", "true"], 2, "error: --eval names no {model}"),
        (["--eval", "false {model}"], 1, "failed with exit code 1"),
        (["--eval", "echo {model} | tr -d 0-9"], 1, "printed no number"),
    ],
)
def test_what_the_command_refuses(tmp_path, options, code, says) -> None:
    done = spa("sweep", RESNET, "-o", tmp_path / "s", "--method", "l1", "--points", "0.9", *options)
    assert done.code == code
    assert says in done.err
    assert "Traceback" not in done.err


def test_what_is_tried_lies_in_the_folder_and_goes(tmp_path, monkeypatch) -> None:
    places = []
    of = run.Quality.of
    monkeypatch.setattr(run.Quality, "of", lambda self, file, states: (places.append(file), of(self, file, states))[1])
    sweep(tmp_path / "s", budgets=(0.8,))
    (place,) = places
    assert place.name == "model.onnx" and not place.exists() and not place.parent.exists()
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["sweep.json"]


def test_a_point_that_does_not_survive_says_so_and_the_rest_is_swept(tmp_path, monkeypatch) -> None:
    choose = budgets.cut_by_budget

    def fails(ranked, request, trials):
        if request.options.target_macs == 0.8:
            raise VerificationError("the result does not run")
        return choose(ranked, request, trials)

    monkeypatch.setattr(budgets, "cut_by_budget", fails)
    found = sweep(tmp_path / "s", budgets=(0.8, 0.5))
    assert [p.refused for p in found.points] == ["the result does not run", ""]


def test_a_point_says_that_its_repair_was_dropped(tmp_path, monkeypatch) -> None:
    # of two budgets, the repair of the second is worse than the cut
    errors = iter([2.0, 1.0, 1.0, 2.0])
    monkeypatch.setattr("spa_cli.obspa.curvature.Curvature._error", lambda self, work: next(errors))
    found = sweep(tmp_path / "s", options=Options(ratio=0.5, calib_samples=16, seed=1))
    assert [bool(p.dropped) for p in found.points] == [False, True]
    (warned,) = [w for w in found.warnings if "dropped" in w]
    assert warned == "at 0.5 the repair was dropped: its error 2 was not below that of slicing alone, 1"
