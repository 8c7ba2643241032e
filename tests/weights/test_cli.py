"""``spa apply --weights``: what is printed, the exit codes, and that nothing is written where something is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.running import contents, plan_file, refused, spa
from tests.weights import mlp, planned, smaller


@pytest.fixture
def folder(tmp_path) -> Path:
    """plan.json, model.onnx, weights.npz and an empty folder ``out``."""
    plan, arrays = planned(mlp())
    (tmp_path / "plan.json").write_text(plan.to_json())
    onnx.save(mlp(), tmp_path / "model.onnx")
    np.savez(tmp_path / "weights.npz", **arrays)
    np.savez(tmp_path / "wanted.npz", **smaller(plan, arrays))
    (tmp_path / "out").mkdir()
    return tmp_path


def _refused(folder, code, *arguments) -> str:
    before = contents(folder)
    text = refused(code, "apply", folder / "plan.json", *arguments)
    assert contents(folder) == before
    assert not list(folder.rglob(".spa-*"))
    return text


@pytest.mark.parametrize("with_model", [False, True])
def test_a_table(folder, with_model) -> None:
    out = folder / "out" / "small.npz"
    model = [folder / "model.onnx"] if with_model else []
    ran = spa("apply", folder / "plan.json", *model, "--weights", folder / "weights.npz", "-o", out)
    assert (ran.code, ran.err) == (0, "")
    assert "applied the plan to weights.npz" in ran.out
    (row,) = [line for line in ran.out.splitlines() if "layer1.weight" in line]
    assert row.replace("|", " ").split()[1:] == ["the", "same", "name", "8x5", "5x5"]
    assert "3 tensors cut, 75 -> 48 numbers (-36.0%)" in ran.out
    assert str(out) in ran.out.replace("\n", "")
    with np.load(out) as found, np.load(folder / "wanted.npz") as wanted:
        assert all(np.array_equal(found[k], wanted[k]) for k in wanted)


def test_json(folder) -> None:
    out = folder / "out" / "small.npz"
    ran = spa("apply", folder / "plan.json", "--weights", folder / "weights.npz", "-o", out, "--json")
    found = json.loads(ran.out)
    assert found == {
        "schema": "spa.apply-weights/1",
        "input": "weights.npz",
        "output": str(out),
        "matched": {n: {"keys": [n], "by": "name"} for n in ("layer1.weight", "layer1.bias", "layer2.weight")},
        "shapes": {
            "layer1.weight": {"before": [8, 5], "after": [5, 5]},
            "layer1.bias": {"before": [8], "after": [5]},
            "layer2.weight": {"before": [3, 8], "after": [3, 5]},
        },
        "params": {"before": 75, "after": 48},
        "repaired": [],
        "warnings": [],
    }


def test_many_tensors_are_cut_short_in_the_table(folder) -> None:
    names = [f"layer{i}.weight" for i in range(30)]
    plan = plan_file(folder / "many.json", {n: {"0": [0]} for n in names})
    np.savez(folder / "many.npz", **{n: np.arange(2.0) + i for i, n in enumerate(names)})
    ran = spa("apply", plan, "--weights", folder / "many.npz", "-o", folder / "out" / "small.npz")
    assert "... and 10 more tensors; --json has every one" in ran.out


def test_warnings_go_to_stderr(folder) -> None:
    with np.load(folder / "weights.npz") as data:
        np.savez(folder / "tied.npz", **data, copy=data["layer2.weight"])
    out = folder / "out" / "small.npz"
    ran = spa("apply", folder / "plan.json", "--weights", folder / "tied.npz", "-o", out, "--json")
    assert ran.err == "warning: 'copy' is the same as 'layer2.weight' and was cut with it\n"
    assert json.loads(ran.out)["matched"]["layer2.weight"]["keys"] == ["layer2.weight", "copy"]


def test_exported_with(folder) -> None:
    with np.load(folder / "weights.npz") as data:
        before = {f"k{i}": a.T for i, a in enumerate(data.values())}
    np.savez(folder / "before.npz", **before)
    np.savez(folder / "after.npz", **{k: -a for k, a in before.items()})
    out = folder / "out" / "small.npz"
    options = ("--weights", folder / "after.npz", "-o", out)
    assert "--exported-with" in _refused(folder, 2, folder / "model.onnx", *options)
    ran = spa("apply", folder / "plan.json", folder / "model.onnx", *options, "--exported-with", folder / "before.npz")
    assert ran.code == 0, ran
    with np.load(out) as found, np.load(folder / "wanted.npz") as wanted:
        assert all(np.array_equal(found[k], -a.T) for k, a in zip(found, wanted.values(), strict=True))


def test_options_that_do_not_go_together(folder) -> None:
    weights, out = ("--weights", folder / "weights.npz"), ("-o", folder / "out" / "small.npz")
    assert "give the model after the plan, or --weights" in _refused(folder, 2, *out)
    assert "belongs to --weights" in _refused(folder, 2, folder / "model.onnx", *out, "--exported-with", "x.npz")
    assert "needs the model" in _refused(folder, 2, *weights, *out, "--exported-with", "x.npz")
    assert "--input-shape says nothing about --weights; leave it out" in _refused(
        folder, 2, *weights, *out, "--input-shape", "x:1,5"
    )
    assert spa("apply", folder / "plan.json", *weights).code == 2


def test_outputs_that_can_not_be_written(folder) -> None:
    weights = ("--weights", folder / "weights.npz")
    assert "its name has to end in" in _refused(folder, 2, *weights, "-o", folder / "out" / "small.onnx")
    assert "does not exist" in _refused(folder, 2, *weights, "-o", folder / "none" / "small.npz")
    (folder / "dir.npz").mkdir()
    assert "is a folder; give a file name" in _refused(folder, 2, *weights, "-o", folder / "dir.npz")
    (folder / "out" / "small.npz").write_bytes(b"precious")
    assert "exists; use --force to replace it" in _refused(folder, 2, *weights, "-o", folder / "out" / "small.npz")
    (folder / "out" / "nowhere.npz").symlink_to(folder / "none.npz")
    assert "exists; use --force to replace it" in _refused(folder, 2, *weights, "-o", folder / "out" / "nowhere.npz")
    os.link(folder / "weights.npz", folder / "out" / "hard.npz")
    for name in (folder / "weights.npz", folder / "out" / "hard.npz"):
        assert "is an input; choose another name" in _refused(folder, 2, *weights, "-o", name, "--force")
    ran = spa("apply", folder / "plan.json", *weights, "-o", folder / "out" / "small.npz", "--force")
    assert ran.code == 0, ran


def test_inputs_that_can_not_be_used(folder) -> None:
    out = ("-o", folder / "out" / "small.npz")
    assert "there is no weights file" in _refused(folder, 2, "--weights", folder / "none.npz", *out)
    assert "there is no file" in _refused(folder, 3, folder / "none.onnx", "--weights", folder / "weights.npz", *out)
    plan_file(folder / "plan.json", {"layer9.weight": {"0": [0]}})
    text = _refused(folder, 2, "--weights", folder / "weights.npz", *out)
    assert "nearest: layer2.weight, layer1.weight, " in text


def test_without_weights_it_is_what_it_was(folder) -> None:
    ran = spa("apply", folder / "plan.json", folder / "model.onnx", "-o", folder / "out" / "small.onnx", "--json")
    assert json.loads(ran.out)["schema"] == "spa.apply/1"
    small = onnx.load(folder / "out" / "small.onnx")
    with np.load(folder / "wanted.npz") as wanted:
        found = {t.name: onnx.numpy_helper.to_array(t) for t in small.graph.initializer}
        assert all(np.array_equal(found[k], wanted[k]) for k in wanted)
