"""``spa devices``: what is known, what was measured, and forgetting that."""

from __future__ import annotations

import io
import json
import re

import jsonschema
import pytest
from rich.console import Console

import spa_cli
from spa_cli.devices import store
from spa_cli.devices.table import Run, Table
from spa_cli.report.devices import devices_tables
from tests.cli.running import spa
from tests.samples import model_path

MLP = model_path("digits_mlp")


@pytest.fixture(autouse=True)
def two_were_measured(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SPA_DEVICES", str(tmp_path / "kept"))
    runs = [Run({"a": [w]}, {"a": float(w)}, {"a": s}) for w, s in ((16, 2.0), (32, 4.0), (24, 6.0))]
    for key, machine in (("k", "an old machine"), ("l", store.machine())):
        store.keep(
            key,
            Table(machine, f"a model with a rather long name that is {key}.onnx", runs, {"a": "depthwise"}, {"a": "a"}),
        )


def test_the_table_fits_into_80_columns() -> None:
    printed = io.BytesIO()
    ascii_ = io.TextIOWrapper(printed, encoding="ascii", write_through=True)
    devices_tables(Console(width=80, file=ascii_, force_terminal=True, color_system=None), spa_cli.devices())
    lines = re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue().decode("ascii")).splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    for part in ("tensorrt-int8", "| cpu-avx2 | 8 | 8 | 8 | 16 |", "NHCWB16", "an old machine", "1 of 2 on"):
        assert part in text, part
    # a width of 24 takes twice what one of 16 or 32 does, a width of 16 what it takes
    assert re.search(r"depthwise +\| +- \| +- \| +- \| +2\.00 \| +1\.00 \|", text)


def test_every_profile_is_told_with_its_source() -> None:
    found = spa_cli.devices()
    assert [p["name"] for p in found["profiles"]][:2] == ["cpu-avx512", "cpu-avx2"]
    assert all(p["source"] for p in found["profiles"])
    assert found["machine"] == store.machine()
    assert [m["costs"] for m in found["measured"]] == 2 * [{"depthwise": {"8": 2.0, "16": 1.0}}]


def test_json_is_what_its_schema_says() -> None:
    ran = spa("devices", "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    jsonschema.validate(found, spa_cli.schema("devices"))
    assert found == spa_cli.devices()


def test_what_was_measured_is_forgotten() -> None:
    ran = spa("devices", "--clear")
    assert (ran.code, ran.out) == (0, "forgot what was measured of 2 models\n")
    assert json.loads(spa("devices", "--clear", "--json").out)["forgotten"] == 0
    assert "nothing was measured yet" in spa("devices").out


def test_a_prediction_is_told_where_it_is_shown(tmp_path) -> None:
    asked = ("prune", MLP, "-o", tmp_path / "s.onnx", "--force", "--target-latency", 0.6, "--device", "npu-16")
    ran = spa(*asked, "--method", "l1")
    assert ran.code == 0, ran.err
    assert "warning: --target-latency is predicted for 'npu-16', not measured; measure it there" in ran.err
    assert "latency predicted for npu-16, not measured: 0." in " ".join(ran.out.split())
    assert "| latency" in ran.out
    found = json.loads(spa(*asked, "--method", "l1", "--json").out)
    jsonschema.validate(found, spa_cli.schema("prune"))
    assert found["device"] == "npu-16"
    assert 0.5 < found["predicted_latency"] <= 0.6
    here = json.loads(spa("prune", MLP, "-o", tmp_path / "h.onnx", "--ratio", 0.5, "--method", "l1", "--json").out)
    assert (here["device"], here["predicted_latency"]) == ("here", None)


def test_a_sweep_by_latency_is_predicted(tmp_path) -> None:
    asked = ("sweep", MLP, "-o", tmp_path / "out", "--points", "0.8", "--method", "l1", "--device", "cuda")
    ran = spa(*asked, "--by", "latency")
    assert ran.code == 0, ran.err
    assert "--target-latency is predicted for 'cuda', not measured" in ran.err


def test_a_device_of_ones_own_is_part_of_what_is_cached(tmp_path) -> None:
    mine = tmp_path / "mine.toml"
    found = []
    for text in ("product = 4\n", "product = 4\n", "product = 32\n"):
        mine.write_text(text)
        asked = ("prune", MLP, "-o", tmp_path / "s.onnx", "--force", "--cache", tmp_path / "cache", "--json")
        ran = spa(*asked, "--target-latency", 0.6, "--device", mine, "--method", "l1")
        assert ran.code == 0, ran.err
        found.append(json.loads(ran.out)["cached"])
    assert found == [False, True, False]


def test_a_configuration_names_a_file_beside_it(tmp_path, monkeypatch) -> None:
    (tmp_path / "spa.toml").write_text('device = "mine.toml"\ntarget-latency = 0.6\nmethod = "l1"\n')
    (tmp_path / "mine.toml").write_text("product = 4\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    ran = spa("prune", MLP, "-o", "s.onnx", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["device"] == str(tmp_path / "mine.toml")
