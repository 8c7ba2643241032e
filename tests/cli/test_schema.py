"""What --json prints is what ``spa schema`` promises."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest

from spa_cli.report import schemas
from tests.cli.running import refused, spa
from tests.samples import calib_path, model_path

RESNET = model_path("digits_resnet")
# one worker runs the commands
pytestmark = pytest.mark.xdist_group("schema")


def _schema(name: str) -> dict:
    ran = spa("schema", name)
    assert ran.code == 0, ran.err
    found: dict = json.loads(ran.out)
    jsonschema.Draft202012Validator.check_schema(found)
    return found


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict[str, dict]:
    """One output of every command, by schema."""
    folder = tmp_path_factory.mktemp("printed")
    small, plan, weights = folder / "s.onnx", folder / "plan.json", folder / "w.npz"
    from spa_cli.runtime.load import load

    graph = load(RESNET).graph
    np.savez(weights, **{n: graph.array(n) for n in graph.parameters})
    bad = folder / "bad.onnx"
    bad.write_bytes(b"no model")
    runs = {
        "prune": ("prune", RESNET, "-o", small, "--ratio", 0.3, "--plan-out", plan, "--calib-samples", 32),
        "inspect": ("inspect", RESNET),
        "apply": ("apply", plan, RESNET, "-o", folder / "t.onnx"),
        "apply-weights": ("apply", plan, "--weights", weights, "-o", folder / "v.npz"),
        "verify": ("verify", RESNET, small, "--plan", plan, "--max-drift", 9, "--calib", calib_path("digits_resnet")),
        "batch": ("prune", RESNET, bad, "-o", folder / "many", "--ratio", 0.3, "--method", "l1"),
        "sweep": ("sweep", RESNET, "-o", folder / "sweep", "--points", "0.7,0.001", "--method", "l1"),
        "tune": (
            "tune",
            small,
            "--teacher",
            RESNET,
            "-o",
            folder / "u.onnx",
            "--epochs",
            1,
            "--samples",
            64,
            "--lr",
            0.003,
        ),
        "criteria": ("criteria",),
        "devices": ("devices",),
        "operators": ("operators", "Conv"),
        "error": ("inspect", bad),
    }
    found = {name: json.loads(spa(*command, "--json").out) for name, command in runs.items()}
    return {**found, "plan": json.loads(plan.read_text())}


@pytest.mark.parametrize("name", schemas.NAMES)
def test_outputs_are_as_promised(printed, name) -> None:
    schema = _schema(name)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(printed[name])
    # a schema that lets everything through would prove nothing
    for key in schema["required"]:
        broken = {k: v for k, v in printed[name].items() if k != key}
        assert not validator.is_valid(broken)
        assert not validator.is_valid({**printed[name], key: object()})


@pytest.mark.parametrize("name", schemas.NAMES)
def test_nothing_is_printed_that_is_not_promised(printed, name) -> None:
    extra = {"apply-weights": {"matched", "shapes"}, "plan": set(printed["plan"]) - {"schema", "kept"}}
    assert set(printed[name]) - extra.get(name, set()) <= set(_schema(name)["properties"])


def test_names() -> None:
    assert spa("schema").out.split() == list(schemas.NAMES)
    assert _schema("spa.prune/1") == _schema("prune")
    assert "there is no schema 'prunes'; use one of inspect, prune" in refused(2, "schema", "prunes")
