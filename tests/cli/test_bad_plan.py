"""Outputs that can't be written, plans that can't be carried out: one sentence, exit 2, nothing written."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.running import contents, plan_file, refuse_prune, refused, spa, write
from tests.samples import model_path

RESNET = model_path("digits_resnet")


# -- the output -------------------------------------------------------------------------------------------------------


def test_output_exists(place) -> None:
    (place[1] / "small.onnx").write_bytes(b"precious")
    assert "small.onnx' exists; use --force to replace it" in refuse_prune(place, 2, RESNET, "--ratio", 0.3)
    assert (place[1] / "small.onnx").read_bytes() == b"precious"


def test_output_is_a_link_that_leads_nowhere(place) -> None:
    (place[1] / "small.onnx").symlink_to("elsewhere.onnx")
    assert "small.onnx' exists; use --force to replace it" in refuse_prune(place, 2, RESNET, "--ratio", 0.3)
    assert (place[1] / "small.onnx").is_symlink()


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_output_is_the_input(place, force) -> None:
    model = place[0] / "model.onnx"
    assert "is the input" in refuse_prune(place, 2, model, "--ratio", 0.3, *force, target=model)
    os.link(model, place[0] / "hard.onnx")
    (place[1].parent / "soft.onnx").symlink_to(model)
    for name in (place[0] / "hard.onnx", place[1].parent / "soft.onnx", place[1] / ".." / "in" / "model.onnx"):
        assert "is the input" in refuse_prune(place, 2, model, "--ratio", 0.3, *force, target=name)


def test_output_folder(place) -> None:
    text = refuse_prune(place, 2, RESNET, "--ratio", 0.3, target=place[1] / "none" / "small.onnx")
    assert "does not exist" in text
    assert "is a folder; give a file name" in refuse_prune(place, 2, RESNET, "--ratio", 0.3, target=place[1])
    text = refuse_prune(place, 2, RESNET, "--ratio", 0.3, target=place[0] / "model.onnx" / "small.onnx")
    assert "does not exist" in text


def test_output_folder_that_can_not_be_written(place, monkeypatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode, **_: mode != os.W_OK)
    assert "can't be written to; choose another, or change its permissions" in refuse_prune(
        place, 2, RESNET, "--ratio", 0.3
    )


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system nobody can write to")
def test_output_on_a_file_system_that_can_not_be_written(place) -> None:
    """Root may write everywhere, says ``os.access``; the file system says otherwise."""
    assert "/proc" in refuse_prune(place, 2, RESNET, "--ratio", 0.3, "--method", "l1", target=Path("/proc/small.onnx"))


def test_output_name_that_is_too_long(place) -> None:
    text = refuse_prune(place, 2, RESNET, "--ratio", 0.3, target=place[1] / ("a" * 300))
    assert "a' can't be used: File name too long; choose another name" in text


def test_plan_and_model_in_the_same_file(place) -> None:
    assert "--output and --plan-out are the same file" in refuse_prune(
        place, 2, RESNET, "--ratio", 0.3, "--plan-out", place[1] / "small.onnx"
    )


# -- plans ------------------------------------------------------------------------------------------------------------


_CONV1 = {"stage1.0.conv1.weight": {"0": list(range(8))}}
BAD_PLANS = {
    "missing": (lambda d: d / "none.json", "; give the file that --plan-out wrote"),
    "a folder": (lambda d: d, "can't be read"),
    "not JSON": (lambda d: write(d / "p", b"{kept:"), "is not JSON"),
    "binary": (lambda d: write(d / "p", RESNET.read_bytes()), "is not JSON"),
    "a list": (lambda d: write(d / "p", b"[]"), "is not a plan"),
    "another schema": (lambda d: plan_file(d / "p", {}, "spa.plan/99"), "is not a plan"),
    "kept is a list": (lambda d: plan_file(d / "p", []), "is not a plan"),
    "an axis with a name": (lambda d: plan_file(d / "p", {"w": {"rows": [0]}}), "malformed at tensor 'w'"),
    "an odd digit": (lambda d: plan_file(d / "p", {"stem.0.weight": {"\u00b2": [0]}}), "malformed"),
    "an axis of many digits": (lambda d: plan_file(d / "p", {"w": {"9" * 5000: [0]}}), "malformed at tensor 'w'"),
    "negative": (lambda d: plan_file(d / "p", {"w": {"0": [-1]}}), "malformed at tensor 'w'"),
    "fractions": (lambda d: plan_file(d / "p", {"w": {"0": [0.5]}}), "malformed at tensor 'w'"),
    "an unknown tensor": (lambda d: plan_file(d / "p", {"w": {"0": [0]}}), "names tensor 'w'"),
    "an axis too many": (lambda d: plan_file(d / "p", {"fc.bias": {"1": [0]}}), "'fc.bias' axis 1"),
    "an index too large": (lambda d: plan_file(d / "p", {"stem.0.weight": {"0": [99]}}), "an index of 'stem.0.weight'"),
    "a frozen axis": (lambda d: plan_file(d / "p", {"fc.weight": {"0": [0, 1]}}), "'fc.weight' axis 0"),
    "an axis of one": (
        lambda d: plan_file(d / "p", {"stem.0.weight": {"1": [0]}}),
        "axis 1, of which nothing can be removed; take it out of the plan",
    ),
    "half a group": (lambda d: plan_file(d / "p", _CONV1), "not consistent"),
    "a group emptied": (lambda d: plan_file(d / "p", {"stem.0.weight": {"0": []}}), "keeps no channel"),
    "other blocks": (
        lambda d: plan_file(d / "p", {"stage1.0.conv1.weight": {"0": [[0], [1]]}}),
        "other indices in each block of 'stage1.0.conv1.weight' axis 0; keep the same in all",
    ),
    "nothing to cut": (lambda d: plan_file(d / "p", {}), "nothing to cut"),
    "strange shapes": (lambda d: plan_file(d / "p", {}, input_shapes=[3]), '"input_shapes" has to be {input: [sizes]}'),
    "strange sizes": (
        lambda d: plan_file(d / "p", {}, input_shapes={"image": [-1]}),
        "for 'image' is no list of sizes; write whole numbers",
    ),
    "sizes of nothing": (
        lambda d: plan_file(d / "p", {}, input_shapes={"image": [0]}),
        "'image'",
    ),
    "widths that are lists": (
        lambda d: plan_file(d / "p", {}, widths={"w": {"0": [8]}}),
        'malformed at "widths"; write {tensor: {axis: how many}}',
    ),
    "widths of no axis": (lambda d: plan_file(d / "p", {}, widths={"w": {"rows": 8}}), 'malformed at "widths"'),
    "no widths at all": (lambda d: plan_file(d / "p", {}, widths=[]), 'malformed at "widths"'),
    "other widths": (
        lambda d: plan_file(d / "p", _CONV1, widths={"stage1.0.conv1.weight": {"0": 64}}),
        "the plan was made for 64 indices of 'stage1.0.conv1.weight' axis 0, this model has 16; give the model",
    ),
    "half of the names": (
        lambda d: plan_file(d / "p", {}, names={"digest": "0a"}),
        'malformed at "names"; write {count: how many, digest: SHA-256}',
    ),
    "other names": (
        lambda d: plan_file(d / "p", _CONV1, names={"count": 3, "digest": "0a"}, model="a.onnx"),
        "the plan was made for 'a.onnx' with 3 weights (biases not counted), this model has 14, not of the same names;",
    ),
    "a list of the hidden": (
        lambda d: plan_file(d / "p", {}, kept_hidden=[]),
        'malformed at "kept_hidden"; write {tensor: {axis: [indices]}}',
    ),
}


@pytest.mark.parametrize("case", list(BAD_PLANS))
def test_bad_plans(place, case) -> None:
    make, says = BAD_PLANS[case]
    given, out = place
    plan = make(given.parent)
    before = contents(given)
    assert says in refused(2, "apply", plan, given / "model.onnx", "-o", out / "small.onnx")
    assert contents(given) == before
    assert contents(out) == {}


def test_members_that_disagree(place) -> None:
    kept = spa_plan(place)
    kept["stage1.0.conv2.weight"]["1"] = kept["stage1.0.conv2.weight"]["1"][1:]
    plan = plan_file(place[0].parent / "p", kept)
    assert "not consistent" in refused(2, "apply", plan, RESNET, "-o", place[1] / "small.onnx")
    assert contents(place[1]) == {}


def spa_plan(place: tuple[Path, Path]) -> dict:
    """What ``spa prune`` keeps of the network's first inner layer."""
    plan, out = place[0].parent / "made.json", place[0].parent / "made.onnx"
    ran = spa(
        "prune",
        RESNET,
        "-o",
        out,
        "--ratio",
        0.3,
        "--method",
        "l1",
        "--only",
        "stage1.0.conv1.weight",
        "--plan-out",
        plan,
    )
    assert ran.code == 0, ran
    return json.loads(plan.read_text())["kept"]


def test_apply_guards_its_output_like_prune(place) -> None:
    spa_plan(place)
    given, out = place
    plan, model = given.parent / "made.json", given / "model.onnx"
    (out / "small.onnx").write_bytes(b"precious")
    before = contents(given), contents(out)
    assert "use --force" in refused(2, "apply", plan, model, "-o", out / "small.onnx")
    assert "is the input" in refused(2, "apply", plan, model, "-o", model, "--force")
    assert "does not exist" in refused(2, "apply", plan, model, "-o", out / "no" / "s.onnx")
    assert (contents(given), contents(out)) == before


def test_plan_out_is_guarded_like_the_output(place) -> None:
    given, out = place
    (out / "plan.json").write_bytes(b"precious")
    assert "use --force" in refuse_prune(place, 2, RESNET, "--ratio", 0.3, "--plan-out", out / "plan.json")
    model = given / "model.onnx"
    assert "is the input" in refuse_prune(place, 2, model, "--ratio", 0.3, "--plan-out", model, "--force")


def test_a_move_that_fails_leaves_no_plan_behind(place, monkeypatch) -> None:
    def replace(source: object, target: object) -> None:
        if str(target).endswith("small.onnx"):
            raise PermissionError(13, "Permission denied")
        shutil.move(source, target)

    link = os.link

    def claim(source: object, target: object, **given: object) -> None:
        if target == place[1] / "small.onnx":
            raise PermissionError(13, "Permission denied")
        link(source, target, **given)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "link", claim)
    asked = ("--ratio", 0.3, "--method", "l1", "--plan-out", place[1] / "plan.json")
    text = refuse_prune(place, 2, RESNET, *asked)
    assert "can't be written: Permission denied; choose another name" in text
