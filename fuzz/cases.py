"""What one case is: files in a folder, and the commands that are run on them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fuzz import files
from fuzz.models import damage
from fuzz.seeds import Seed, pick
from fuzz.values import damaged, one_of
from tests.cli.running import spa

# what is damaged, and one case of how many it is
TARGETS = {"model": 0.55, "bytes": 0.1, "plan": 0.1, "configuration": 0.07, "calibration": 0.1, "weights": 0.08}
_SMALL = ("--ratio", "0.4", "--calib-samples", "8", "--force")


@dataclass
class Case:
    """One of the many; ``done``: how the model called ``seed`` was damaged.

    ``commands``: arguments of ``spa``, run in ``folder``. ``model``: what they read, ``out``: what they write ("" if no
    model), ``plan``: of the cut, where that is to be compared with zeroing.
    """

    folder: Path
    target: str
    seed: str
    done: list[str] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    model: str = "model.onnx"
    out: str = "out.onnx"
    plan: str | None = None


def make(seed: int, number: int, folder: Path, plans: Path, models: Path | None) -> Case:
    """The case with this number; ``plans``: a folder that keeps plans for sound models."""
    rng = np.random.default_rng([seed, number])
    target = str(rng.choice(list(TARGETS), p=list(TARGETS.values())))
    start = pick(rng, models)
    case = Case(folder, target, start.name)
    model = start.model()
    (folder / "data.bin").write_bytes(bytes(4096))
    if target == "model":
        case.done = damage(rng, model)
    data = _stored(rng, model)
    if target == "bytes":
        data = damaged(rng, data)
    (folder / "model.onnx").write_bytes(data)
    {"model": _on_model, "bytes": _on_model}.get(target, _beside)(rng, case, start, plans)
    (folder / "case.json").write_text(json.dumps({**vars(case), "folder": None}, indent=1))
    return case


def kept(folder: Path) -> Case:
    """The case that was made in this folder, or in the one that it is a copy of."""
    return Case(**{**json.loads((folder / "case.json").read_text()), "folder": folder})


def _stored(rng: Any, model: onnx.ModelProto) -> bytes:
    try:
        return model.SerializeToString()
    except (ValueError, UnicodeError):
        # text that protobuf does not take back
        return rng.bytes(64)


def _on_model(rng: Any, case: Case, start: Seed, plans: Path) -> None:
    kind = rng.random()
    if kind < 0.15:
        case.commands.append(["inspect", case.model, *one_of(rng, [[], ["--json"], ["--all"]])])
    elif kind < 0.3:
        plan = _plan_of(start, plans)
        if plan is None:
            case.commands.append(["inspect", case.model])
        else:
            (case.folder / "plan.json").write_bytes(plan.read_bytes())
            case.commands.append(["apply", "plan.json", case.model, "-o", case.out, "--force"])
    elif kind < 0.4:
        (case.folder / "sound.onnx").write_bytes(start.model().SerializeToString())
        case.commands.append(["verify", *one_of(rng, [("sound.onnx", case.model), (case.model, case.model)])])
    elif kind < 0.8:
        more = ["--exact-only"] if rng.random() < 0.5 else []
        more += ["--tidy"] if rng.random() < 0.2 else []
        case.plan = "plan.json"
        budget = one_of(rng, [("--ratio", "0.4")] * 4 + [("--target-macs", "0.6"), ("--target-params", "0.7")])
        method = one_of(rng, ["l1"] * 6 + ["l2", "random"])
        case.commands.append(
            [
                "prune",
                case.model,
                "-o",
                case.out,
                *budget,
                "--method",
                method,
                "--plan-out",
                case.plan,
                "--force",
                *more,
            ]
        )
    else:
        method = one_of(rng, ["obspa"] * 6 + ["wanda", "taylor", "fisher"])
        case.commands.append(["prune", case.model, "-o", case.out, *_SMALL, "--method", method])


def _beside(rng: Any, case: Case, start: Seed, plans: Path) -> None:
    folder, model = case.folder, start.model()
    plan = _plan_of(start, plans)
    if case.target == "configuration":
        files.configuration(rng, folder / "spa.toml")
        budget = ["--ratio", "0.4"] if rng.random() < 0.7 else []
        case.commands.append(["prune", case.model, "-o", case.out, "--config", "spa.toml", *budget])
    elif case.target == "calibration":
        calib = files.calibration(rng, folder, model).name
        if rng.random() < 0.3:
            case.commands.append(["verify", case.model, case.model, "--calib", calib])
        else:
            given = one_of(rng, ["--calib"] * 7 + ["--test"])
            case.commands.append(["prune", case.model, "-o", case.out, *_SMALL, given, calib])
    elif plan is None:
        case.commands.append(["inspect", case.model])
    else:
        own = folder / "plan.json"
        own.write_bytes(plan.read_bytes())
        if case.target == "plan":
            files.plan(rng, own)
            case.commands.append(["apply", "plan.json", case.model, "-o", case.out])
        else:
            weights = files.weights(rng, folder, model)
            more = [case.model] if rng.random() < 0.5 else []
            out = f"small{weights.suffix}"
            case.out = ""
            case.commands.append(["apply", "plan.json", *more, "--weights", weights.name, "-o", out])


def _plan_of(start: Seed, plans: Path) -> Path | None:
    """A plan for a sound model, made once; ``None`` where nothing can be cut."""
    name = "".join(c if c.isalnum() else "_" for c in start.name)
    plan, model = plans / f"{name}.json", plans / f"{name}.onnx"
    if not model.exists():
        model.write_bytes(start.model().SerializeToString())
        options = ("--ratio", "0.4", "--method", "l1", "--plan-out", plan, "--force")
        spa("prune", model, "-o", plans / "out.onnx", *options)
    return plan if plan.exists() else None
