"""The fuzzer itself: the same case for the same numbers, and what is wrong is found, kept and made small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from fuzz import cases, judge
from fuzz.cases import TARGETS, Case, make
from fuzz.children import Children
from fuzz.judge import Verdict
from fuzz.minimise import minimise
from fuzz.models import DAMAGES, damage
from fuzz.seeds import seeds
from spa_cli.graph import guard
from tests.builders import build
from tests.cli.running import contents
from tests.quick import ROOT


@pytest.fixture
def as_for_users(monkeypatch) -> None:
    monkeypatch.setattr(guard, "STRICT", False)


@pytest.fixture
def no_plans(monkeypatch) -> None:
    """A case that would need a plan of the sound model does without."""
    monkeypatch.setattr(cases, "_plan_of", lambda start, plans: None)


def _case(folder: Path, **rest: object) -> Case:
    given = {"commands": [["inspect", "model.onnx"]], **rest}
    return Case(folder, "model", "x", **given)


def test_there_is_something_to_damage() -> None:
    tiny, larger = seeds(None)
    assert len(tiny) > 200
    assert len(larger) == 6
    assert len({s.name for s in tiny}) > 0.9 * len(tiny)


def test_a_case_is_told_by_its_numbers(tmp_path, no_plans) -> None:
    made = []
    for folder in ("a", "b"):
        for number in range(12):
            place = tmp_path / folder / str(number)
            place.mkdir(parents=True)
            made.append((make(3, number, place, tmp_path, None), contents(place)))
    first, second = made[:12], made[12:]
    assert [c.commands for c, _ in first] == [c.commands for c, _ in second]
    # an archive tells when it was made
    assert [f["model.onnx"] for _, f in first] == [f["model.onnx"] for _, f in second]
    assert len({c.target for c, _ in first}) > 3
    assert {c.target for c, _ in first} <= set(TARGETS)


def test_every_damage_is_one() -> None:
    """Of some model: most need something that not all have."""
    sound = [s.model() for s in seeds(None)[0][::40]]
    before = [m.SerializeToString() for m in sound]
    for how in dict.fromkeys(DAMAGES):
        changed = 0
        for data in before:
            copy = onnx.ModelProto.FromString(data)
            try:
                how(np.random.default_rng(1), copy)
            except (IndexError, ValueError, TypeError):
                continue
            changed += copy.SerializeToString() != data
        assert changed, how.__name__
    assert damage(np.random.default_rng(0), sound[0])


def test_what_is_well_is_no_finding(tmp_path) -> None:
    text = "(float[N,5] x) => (y) { a = MatMul(x, wa) b = Relu(a) y = MatMul(b, wb) }"
    onnx.save(build(text, wa=(5, 8), wb=(8, 3)), tmp_path / "model.onnx")
    asked = ["--ratio", "0.4", "--method", "l1", "--plan-out", "plan.json", "--exact-only", "--debug"]
    done = judge.judge(_case(tmp_path, commands=[["prune", "model.onnx", "-o", "out.onnx", *asked]], plan="plan.json"))
    assert (done.kind, done.text) == ("done", "equals zeroing")
    (tmp_path / "model.onnx").write_bytes(b"none")
    assert judge.judge(_case(tmp_path)).kind == "refused"


def test_a_weight_that_is_there_twice_is_zeroed_as_one(tmp_path) -> None:
    """Seed 20261129, case 3258: onnxruntime computes with the first."""
    model = build("(float[N,5] x) => (float[N,1] y) { a = MatMul(x, w) y = ReduceSum(a, one) }", w=(5, 8), one=[1])
    model.graph.initializer.append(model.graph.initializer[0])
    onnx.save(model, tmp_path / "model.onnx")
    asked = ["--ratio", "0.4", "--method", "l1", "--plan-out", "plan.json", "--exact-only"]
    done = judge.judge(_case(tmp_path, commands=[["prune", "model.onnx", "-o", "out.onnx", *asked]], plan="plan.json"))
    assert (done.kind, done.text) == ("done", "equals zeroing")


def test_an_output_that_is_declared_falsely_stays_so(tmp_path, monkeypatch) -> None:
    """Seed 73, case 1947: onnxruntime infers more of one file than of the other."""
    text = "(float[N,5] x) => (float[N,3] y) { a = MatMul(x, wa) y = MatMul(a, wb) }"
    for name in ("model.onnx", "out.onnx"):
        onnx.save(build(text, wa=(5, 8), wb=(8, 3)), tmp_path / name)
    case = _case(tmp_path, commands=[["prune"]])
    case.model, case.out = str(tmp_path / "model.onnx"), str(tmp_path / "out.onnx")
    ends = iter("ab")
    monkeypatch.setattr(judge, "_ends", lambda session: next(ends))
    assert judge._result(case).kind == "done"


def test_what_is_not_is_one(tmp_path, monkeypatch) -> None:
    def broken(node: object, state: object) -> None:
        raise IndexError("of ours")

    text = "(float[N,5] x) => (y) { a = MatMul(x, wa) b = Relu(a) y = MatMul(b, wb) }"
    onnx.save(build(text, wa=(5, 8), wb=(8, 3)), tmp_path / "model.onnx")
    monkeypatch.setattr("spa_cli.analysis.build_groups", lambda state: broken(None, None))
    found = judge.judge(_case(tmp_path))
    assert found.kind == "exception"
    assert not found.good
    assert "IndexError: of ours" in found.key
    assert found.key.startswith("analysis.py:")


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda m: m.graph.ClearField("node"), "does not load"),
        (lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", 11), "does not load"),
        (lambda m: m.graph.output.append(onnx.helper.make_empty_tensor_value_info("b")), "signature"),
        (lambda m: setattr(m.graph.node[1], "op_type", "Abs"), "zeroing"),
    ],
    ids=["nodes", "type", "outputs", "values"],
)
def test_a_result_that_is_none_is_one(spoil, kind, tmp_path) -> None:
    text = "(float[N,5] x) => (y) { a = MatMul(x, wa) b = Relu(a) y = MatMul(b, wb) }"
    model = build(text, wa=(5, 8), wb=(8, 3))
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "plan.json").write_text(json.dumps({"kept": {}, "input_shapes": {"x": [4, 5]}}))
    spoil(model)
    onnx.save(model, tmp_path / "out.onnx")
    case = _case(tmp_path, commands=[["prune", "--exact-only"]], plan=str(tmp_path / "plan.json"))
    case.model, case.out = str(tmp_path / "model.onnx"), str(tmp_path / "out.onnx")
    assert judge._result(case).kind == kind


def test_a_finding_is_made_small(tmp_path) -> None:
    nodes = " ".join(f"t{i + 1} = Relu(t{i})" for i in range(8))
    model = build(f"(float[N,5] t0) => (float[N,5] y) {{ {nodes} s = Sin(t8) u = Add(s, w) y = Relu(u) }}", w=(5,))
    file = tmp_path / "model.onnx"
    onnx.save(model, file)
    minimise(file, lambda: any(n.op_type == "Sin" for n in onnx.load(file).graph.node))
    small = onnx.load(file)
    assert [n.op_type for n in small.graph.node] == ["Sin"]
    assert not small.graph.initializer


def test_a_few_cases_in_a_process_of_their_own(tmp_path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "fuzz", "--cases", "3", "--seed", "1", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "seed 1, 3 cases in" in ran.stdout


def test_a_crash_of_the_child_is_found(tmp_path) -> None:
    children = Children(tmp_path / "log")
    (tmp_path / "case.json").write_text("{}")
    found = children.run({"folder": str(tmp_path)})
    # it ends by itself: a mistake of the harness
    assert (found["good"], found["kind"], found["native"]) == (False, "crash", False)
    children.close()


def test_verdicts() -> None:
    assert Verdict("done").good
    assert Verdict("refused").good
    assert not Verdict("zeroing", "k").good
