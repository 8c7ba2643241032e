"""A tour of the Python API on a sample model, in half a minute: ``python examples/tour.py [FOLDER]``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime

import spa_cli
from spa_cli.plan import Plan

SAMPLES = Path(__file__).resolve().parent.parent / "sample_models"
MODEL, CALIB, TEST = (SAMPLES / f"digits_resnet{end}" for end in (".onnx", "_calib.npz", "_test.npz"))


def accuracy(model: bytes | str) -> float:
    """On 597 images that nothing was fitted to."""
    with np.load(TEST) as data:
        scores = onnxruntime.InferenceSession(model).run(None, {"image": data["image"]})[0]
        return float((scores.argmax(1) == data["labels"]).mean())


def main(folder: Path) -> dict[str, float]:
    """Every step of the tour; what the lines that it prints are about."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {"dense": accuracy(str(MODEL))}

    # what depends on what: a group's channels live on all axes of its members and can only go together
    analysis = spa_cli.inspect(MODEL)
    stem = analysis.grouping.groups[0]
    print(f"{len(analysis.grouping.groups)} groups, {analysis.channels} channels that can go")
    print(f"'{stem.name}': {stem.channels} channels on {len(stem.members)} axes of weights, exact: {stem.exact}")

    # half of the multiply-accumulates; options are called as on the command line
    small = spa_cli.prune(MODEL, folder / "small.onnx", target_macs=0.5, calib=CALIB, force=True)
    found |= {"macs": small.after.macs / small.before.macs, "repaired": accuracy(str(folder / "small.onnx"))}
    print(f"{small.rf:.2f}x fewer MACs, {small.rp:.2f}x fewer parameters; {', '.join(small.warnings) or 'no warnings'}")

    # a plan is a value: here the group that lost the largest part gets all of its channels back
    hardest, left = min(small.cut_groups, key=lambda cut: cut[1] / cut[0].channels)
    print(f"'{hardest.name}' keeps {left} of {hardest.channels} channels; in the edited plan, all")
    kept = {name: dict(axes) for name, axes in small.plan.kept.items()}
    for member in hardest.members:
        kept.get(member.tensor, {}).pop(str(member.axis), None)
    edited = Plan({name: axes for name, axes in kept.items() if axes}, small.plan.about)

    # a plan only says what stays: carrying it out slices, and repairs nothing
    for name, plan in (("sliced", small.plan), ("edited", edited)):
        made = spa_cli.apply(plan, MODEL)
        found |= {name: accuracy(made.model.SerializeToString()), f"{name} macs": made.after.macs / made.before.macs}

    # the curve of quality against cost; an interrupted sweep goes on where it stopped
    curve = spa_cli.sweep(MODEL, folder / "sweep", points=(0.8, 0.3), calib=CALIB, test=TEST)
    found |= {f"accuracy at {p.asked:g}": p.accuracy or 0.0 for p in curve.points}
    print(f"most sensitive: '{curve.sensitivity[0].group}'")

    # the gates that a pipeline would set
    gates = spa_cli.verify(MODEL, folder / "small.onnx", calib=TEST, min_agreement=0.9, max_size="60%")
    print("\n".join(f"{'passed' if g.passed else 'FAILED'}: {g.text}" for g in gates.gates))
    return {**found, "passed": float(gates.passed)}


if __name__ == "__main__":
    made = main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/tour"))
    print("\n".join(f"{name}: {value:.3f}" for name, value in made.items()))
