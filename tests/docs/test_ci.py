"""The action, the pipeline and the snippets of docs/ci.md, run in a shell as a CI system runs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from tests.quick import executable
from tests.samples import calib_path, model_path

ROOT = Path(__file__).resolve().parents[2]
MODEL, CALIB = model_path("digits_resnet"), calib_path("digits_resnet")
TEST = CALIB.with_name("digits_resnet_test.npz")
YAML = [
    yaml.safe_load(b) for b in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/ci.md").read_text("utf-8"), re.DOTALL)
]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A checkout with a model and its data in it."""
    for name, source in (("model.onnx", MODEL), ("calib.npz", CALIB), ("test.npz", TEST)):
        shutil.copy(source, tmp_path / name)
    (tmp_path / ".git").mkdir()
    return tmp_path


def _bash(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A step: ``bash -e`` with a ``spa`` beside the checkout."""
    beside = folder.with_name(f"{folder.name}-bin")
    beside.mkdir(exist_ok=True)
    path = os.pathsep.join([str(executable(beside).parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    outer = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")}
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**outer, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def _action(folder: Path, **given: str) -> list[subprocess.CompletedProcess[str]]:
    """Run the steps of action.yml that are scripts, but the installation, until one fails."""
    action = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    inputs = {name: value.get("default") for name, value in action["inputs"].items()} | given
    assert None not in inputs.values()
    ran = []
    for step in action["runs"]["steps"]:
        if "run" not in step or step["name"] == "Install":
            continue
        env = {k: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: inputs[m[1]], v) for k, v in step["env"].items()}
        github = {"GITHUB_OUTPUT": str(folder / "output"), "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
        ran.append(_bash(step["run"], folder, **env, **github))
        if ran[-1].returncode:
            break
    return ran


def test_the_action_shrinks_and_passes_its_gates(folder) -> None:
    given = {"prune": "--target-macs 0.5 --calib calib.npz", "gates": "--calib test.npz --min-agreement 0.9"}
    ran = _action(folder, model="model.onnx", output="small.onnx", **given)
    assert [r.returncode for r in ran] == [0, 0], ran[-1].stderr
    assert "::notice file=small.onnx" in ran[-1].stderr
    assert "spa verify small.onnx: passed" in (folder / "summary.md").read_text()
    made = json.loads((folder / "spa-artifacts" / "prune.json").read_text())
    assert (folder / "output").read_text() == f"macs-left={made['after']['macs'] / made['before']['macs']:.3f}\n"
    assert (folder / "small.onnx").stat().st_size == made["after"]["bytes"] < MODEL.stat().st_size
    assert json.loads((folder / "spa-artifacts" / "verify.json").read_text())["passed"] is True
    again = _action(folder, model="model.onnx", output="small.onnx", **given)
    assert [r.returncode for r in again] == [0, 0]
    assert json.loads((folder / "spa-artifacts" / "prune.json").read_text())["cached"] is True


def test_the_action_fails_where_a_gate_is_set_too_high(folder) -> None:
    given = {"prune": "--target-macs 0.5 --method l1", "gates": "--calib test.npz\n--min-agreement 0.99\n"}
    ran = _action(folder, model="model.onnx", output="small.onnx", **given)
    assert [r.returncode for r in ran] == [0, 1]
    assert "::error file=small.onnx,title=spa verify::arg-max agreement" in ran[-1].stderr
    root = ElementTree.parse(folder / "spa-artifacts" / "junit.xml").getroot()
    assert root.get("failures") == "1"


def test_the_action_installs_itself() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    (install,) = [s for s in action["runs"]["steps"] if s.get("name") == "Install"]
    assert install["run"] == 'python -m pip install --quiet "$GITHUB_ACTION_PATH"'
    assert (ROOT / "pyproject.toml").exists()


@pytest.mark.parametrize(("gates", "code"), [((), 0), (("--max-drift=0.001", "--max-size=60%"), 1)])
def test_the_pipeline_passes_and_fails(folder, gates, code) -> None:
    line = " ".join([str(ROOT / "examples/pipeline.sh"), "model.onnx calib.npz test.npz out", *gates])
    ran = _bash(line, folder)
    assert ran.returncode == code, ran.stderr
    assert ("can go" in ran.stdout) is (code == 0)
    assert json.loads((folder / "out" / "verify.json").read_text())["passed"] is (code == 0)
    assert (folder / "out" / "junit.xml").exists()


def test_the_gitlab_job_runs(folder) -> None:
    (job,) = [y["shrink"] for y in YAML if "script" in y.get("shrink", {})]
    script = [line for line in job["script"] if not line.startswith("pip ")]
    assert len(script) == len(job["script"]) - 1
    ran = _bash("\n".join(script), folder)
    assert ran.returncode == 0, ran.stderr
    assert (folder / job["artifacts"]["reports"]["junit"]).exists()
    assert all((folder / path).exists() for path in (*job["artifacts"]["paths"], *job["cache"]["paths"]))


def test_the_workflow_gives_the_action_what_it_knows() -> None:
    (job,) = [y["jobs"]["shrink"] for y in YAML if "jobs" in y]
    (step,) = [s for s in job["steps"] if "spa" in s["uses"]]
    action = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    assert set(step["with"]) <= set(action["inputs"])
    assert {n for n, i in action["inputs"].items() if i.get("required")} <= set(step["with"])


def test_the_configuration_is_a_whole_pipeline(folder) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/ci.md").read_text("utf-8"), re.DOTALL)
    (folder / "spa.toml").write_text(text)
    shutil.copy(CALIB, folder / "samples.npz")
    ran = _bash(
        "spa prune model.onnx -o small.onnx --json > p.json; spa verify model.onnx small.onnx --json > v.json", folder
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads((folder / "p.json").read_text())["rf"] == pytest.approx(2, rel=0.05)
    gates = json.loads((folder / "v.json").read_text())["gates"]
    assert [g["name"] for g in gates] == ["min-agreement", "max-size"]
