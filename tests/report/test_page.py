"""The pages of prune and inspect: whole, self-contained, with the numbers of the JSON; and what is refused."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.errors import UsageError
from spa_cli.report.json_report import inspect_json, prune_json
from spa_cli.report.page import measure
from spa_cli.runtime.timing import Timing
from spa_cli.verification import speed
from tests.cli.running import contents, refused, spa
from tests.report.reading import well_made
from tests.samples import SAMPLES, calib_path, model_path

RESNET = model_path("digits_resnet")
HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "$x_{1}$ </svg>",
    "bell\x07\u202e",
    "层&amp;<b>",
]


def numbers(value: object) -> list[float]:
    """Every number in a JSON object."""
    if isinstance(value, dict):
        return [n for v in value.values() for n in numbers(v)]
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [float(value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


@pytest.mark.parametrize("name", SAMPLES)
def test_a_page_of_every_sample_model(tmp_path, name) -> None:
    file = tmp_path / "report.html"
    result = spa_cli.prune(model_path(name), tmp_path / "small.onnx", report=file, ratio=0.3, method="l2", repair=False)
    page = well_made(file.read_text(encoding="utf-8"))
    found = prune_json(result, "spa.prune/1")
    latency = [found[side].pop("latency_ms") / 1e3 for side in ("before", "after")]
    wanted = [
        *numbers([found["before"], found["after"], found["drift"], found["accuracy"]]),
        found["rf"],
        found["rp"],
        *latency,
    ]
    for number in wanted:
        assert any(np.isclose(number, v, rtol=1e-12) for v in page.values), number
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "small.onnx"]
    for key in ("widths", "macs", "latency", "importance", "trade", "sensitivity", "moved", "structure"):
        assert f'id="figure-{key}"' in page.source, key
    for reason in {f.reason.text for f in result.analysis.grouping.frozen}:
        assert any(reason in text for text in page.text)


def test_how_it_was_made_and_what_the_repair_wins(tmp_path) -> None:
    file = tmp_path / "report.html"
    options = {"target_macs": 0.6, "calib": calib_path("digits_resnet"), "calib_samples": 32, "seed": 3}
    spa_cli.prune(RESNET, tmp_path / "small.onnx", report=file, **options)
    text = " ".join(" ".join(well_made(file.read_text()).text).split())
    for part in (
        "--target-macs 0.6",
        "obspa",
        "layers refitted",
        "digits_resnet_calib.npz",
        "this model, repaired",
        "spa 0",
    ):
        assert part in text, part


def test_a_page_is_the_same_but_for_what_is_measured(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(measure, "profiles", lambda *_: measure.Profiles(None, None, "not measured"))
    monkeypatch.setattr(speed, "latency", lambda *_, **__: Timing(2.0, 1.0, 2.0, 1.0))
    pages = []
    for name in ("a", "b"):
        spa_cli.prune(RESNET, None, report=tmp_path / f"{name}.html", ratio=0.3, method="l1")
        pages.append((tmp_path / f"{name}.html").read_text())
    assert pages[0] == pages[1]


@pytest.mark.parametrize("name", ["digits_vit", "digits_lstm"])
def test_inspect_as_a_page(tmp_path, name) -> None:
    file = tmp_path / "model.html"
    ran = spa("inspect", model_path(name), "--html", file)
    assert ran.code == 0, ran.err
    assert "removable channels" in ran.out
    page = well_made(file.read_text())
    found = inspect_json(spa_cli.inspect(model_path(name)), model_path(name).stat().st_size)
    for key in ("params", "macs", "bytes", "channels"):
        assert found["model"][key] in page.values
    for group in found["groups"]:
        assert group["id"] in page.text
        assert {group["params_per_channel"], group["macs_per_channel"]} <= page.values


def test_a_model_of_which_nothing_can_go_has_a_page(tmp_path) -> None:
    text = '<ir_version: 9, opset_import: ["": 20]> g (float[2,3] x) => (float[2,3] y) { y = Relu(x) }'
    spa_cli.inspect(onnx.parser.parse_model(text), html=tmp_path / "m.html")
    assert "Nothing in this model can be pruned" in (tmp_path / "m.html").read_text()
    well_made((tmp_path / "m.html").read_text())


def test_names_can_not_inject_anything(tmp_path) -> None:
    model = onnx.load(model_path("digits_mlp"))
    for place, node in enumerate(model.graph.node):
        node.name = f"{HOSTILE[place % len(HOSTILE)]}{place}"
    names = {t.name: f"{HOSTILE[i % len(HOSTILE)]}{i}" for i, t in enumerate(model.graph.initializer)}
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        node.input[:] = [names.get(i, i) for i in node.input]
    pages = [tmp_path / "prune.html", tmp_path / "inspect.html"]
    spa_cli.prune(model, None, report=pages[0], ratio=0.3, method="l2")
    spa_cli.inspect(model, html=pages[1])
    for page in pages:
        read = well_made(page.read_text(encoding="utf-8"))
        assert "\x07" not in read.source and "\u202e" not in read.source
        assert any("alert(1)" in text for text in read.text)


def test_weights_in_files_of_their_own(tmp_path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(onnx.load(RESNET), path, save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "out").mkdir()
    spa_cli.prune(path, tmp_path / "out" / "s.onnx", report=tmp_path / "out" / "r.html", ratio=0.3, method="l2")
    page = well_made((tmp_path / "out" / "r.html").read_text())
    assert 'id="figure-latency"' in page.source and 'id="figure-trade"' in page.source
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["r.html", "s.onnx", "s.onnx.data"]


def test_what_can_not_be_measured_is_a_sentence(tmp_path, monkeypatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no such <kernel>\nmore")

    monkeypatch.setattr(measure, "profile", fails)
    monkeypatch.setattr(measure, "SECONDS", 0.0)
    monkeypatch.setattr(measure, "drift_along", fails)
    spa_cli.prune(RESNET, tmp_path / "s.onnx", report=tmp_path / "r.html", ratio=0.3, method="l2")
    text = " ".join(well_made((tmp_path / "r.html").read_text()).text)
    assert "Latency by layer could not be measured: no such <kernel> more." in text
    assert "Sensitivity and the curve of drift could not be measured" in text


def test_a_page_of_one_model_has_what_its_layers_take(tmp_path) -> None:
    spa_cli.inspect(RESNET, html=tmp_path / "m.html")
    text = " ".join(well_made((tmp_path / "m.html").read_text()).text)
    assert "Latency of 14 layers" in text and "could not be measured" not in text


def test_a_page_says_when_time_ran_out(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(measure, "SECONDS", 0.0)
    spa_cli.prune(RESNET, None, report=tmp_path / "r.html", ratio=0.3, method="l2")
    assert "There was time for 0 of 8 groups" in (tmp_path / "r.html").read_text()


def test_a_dry_run_writes_no_page(tmp_path) -> None:
    page = ("--report", tmp_path / "r.html", "--dry-run")
    ran = spa("prune", RESNET, "-o", tmp_path / "s.onnx", "--ratio", 0.3, "--method", "l2", *page)
    assert ran.code == 0, ran.err
    assert not list(tmp_path.iterdir())


def test_many_models_have_a_page_each(tmp_path) -> None:
    mlp, out = model_path("digits_mlp"), tmp_path / "pages"
    ran = spa("prune", RESNET, mlp, "-o", tmp_path / "o", "--ratio", 0.2, "--method", "l1", "--report", out)
    assert ran.code == 0, ran.err
    assert sorted(p.name for p in out.iterdir()) == ["digits_mlp.html", "digits_resnet.html"]


@pytest.mark.parametrize("command", [("prune", "-o", "s.onnx", "--ratio", "0.3", "--report"), ("inspect", "--html")])
def test_what_is_refused_before_any_work(tmp_path, monkeypatch, command) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.html").write_text("mine")
    before = contents(tmp_path)
    line = (command[0], RESNET, *command[1:])
    assert "exists; use --force" in refused(2, *line, "old.html")
    assert "has to end in .html" in refused(2, *line, "page.txt")
    assert "does not exist; create it first" in refused(2, *line, "no/page.html")

    def missing(name: str) -> object:
        if name == "jinja2":
            raise ModuleNotFoundError("No module named 'jinja2'", name=name)
        return importing(name)

    importing = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", missing)
    assert "; install them in spa's own environment: pip install jinja2 matplotlib" in refused(2, *line, "new.html")
    assert contents(tmp_path) == before


def test_the_page_and_the_output_are_two_files(tmp_path) -> None:
    with pytest.raises(UsageError, match="plan_out and report are the same file"):
        spa_cli.prune(RESNET, None, plan_out=tmp_path / "a.html", report=tmp_path / "a.html", ratio=0.3)


def test_nothing_of_the_extra_is_loaded_without_a_page() -> None:
    code = "import sys, spa_cli.pipeline, spa_cli.cli; sys.exit('jinja2' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_what_ruins_a_result_leads_its_page_and_is_said_once(tmp_path) -> None:
    result = spa_cli.prune(RESNET, report=tmp_path / "r.html", target_macs=0.1, method="random", repair=False)
    page = well_made((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert result.drift.resembles is False
    assert sum("no longer resemble" in text for text in page.text) == 1
