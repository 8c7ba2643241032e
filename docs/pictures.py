"""Draw docs/pictures/*.svg from real runs on the sample models: ``make pictures`` (a minute)."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

import spa_cli
from spa_cli.analysis import Analysis
from spa_cli.channels.groups import Group
from spa_cli.channels.state import CONSUMER, PRODUCER
from spa_cli.options import Options
from spa_cli.report.page.theme import ACCENT, AFTER, BEFORE, COLOURS, GONE, INK, MUTED, PAPER, drawing
from spa_cli.request import Request
from spa_cli.runtime.load import load
from spa_cli.trial.prepare import analyse, score

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parent / "sample_models"
MODEL, CALIB, TEST = (SAMPLES / f"digits_resnet{end}" for end in (".onnx", "_calib.npz", "_test.npz"))
BUDGETS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
# the scheme's colours where the reader's is dark; a picture has a ground of its own, so it suits any page
DARK = dict(zip(COLOURS, ("#e4e8ec", "#a3adb8", "#363d45", "#20252b", "#15191e", *[""] * 4), strict=True)) | {
    "before": "#5a6672",
    "after": "#4cc498",
    "gone": "#f0824f",
    "accent": "#7fb0ea",
}


def save(figure: Figure, name: str, label: str) -> None:
    """An SVG that follows the reader's colour scheme and can be read aloud."""
    path = HERE / "pictures" / f"{name}.svg"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None}, facecolor=PAPER)
    text = path.read_text(encoding="utf-8")
    for key, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{key})")
    light = "".join(f"--{k}:{c};" for k, c in COLOURS.items())
    dark = "".join(f"--{k}:{c};" for k, c in DARK.items())
    style = (
        f"<style>:root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}text{{font-family:sans-serif}}"
        "</style>"
    )
    head = re.search(r"<svg[^>]*>", text)
    assert head is not None
    begin = f'{head[0][:-1]} role="img" aria-label="{label}">\n<title>{label}</title>\n{style}\n'
    path.write_text(re.sub(r"[ \t]+\n", "\n", text.replace(head[0], begin, 1)), encoding="utf-8")


def groups() -> None:
    """Which channels of the ResNet go together, layer by layer."""
    analysis = spa_cli.inspect(MODEL)
    layers = [n for n in analysis.graph.nodes if n.op in ("Conv", "Gemm")]
    found = analysis.grouping.groups
    colours = [GONE, ACCENT, AFTER, MUTED]
    figure = Figure(figsize=(7.5, 5.4), layout="constrained")
    axes = figure.subplots()
    width = 0.72
    for row, layer in enumerate(layers):
        weight = layer.inputs[1]
        axes.text(-0.6, row, weight.removesuffix(".weight"), ha="right", va="center", fontsize=9)
        for column, group in enumerate(found):
            for member in group.members:
                if member.tensor == weight:
                    colour, reads = colours[column % 4], member.role == CONSUMER
                    _box(axes, column - width / 2, row, width, colour, filled=not reads)
                    axes.text(
                        column,
                        row,
                        "reads" if reads else "makes",
                        ha="center",
                        va="center",
                        fontsize=8,
                        color=INK if reads else PAPER,
                    )
    for column, group in enumerate(found):
        rows = [r for r, n in enumerate(layers) if any(m.tensor == n.inputs[1] for m in group.members)]
        axes.plot([column, column], [rows[0], rows[-1]], color=colours[column % 4], linewidth=2, zorder=0)
        axes.text(column, -1.1, f"{group.channels}", ha="center", va="center", fontsize=9)
    axes.text(-0.6, -1.1, "channels", ha="right", va="center", fontsize=9)
    axes.set_xlim(-2.4, len(found) - 0.5)
    axes.set_ylim(len(layers) - 0.4, -1.7)
    axes.set_axis_off()
    axes.set_title("One column is one group of coupled channels of digits_resnet", fontsize=10)
    save(figure, "groups", "Groups of coupled channels of digits_resnet: layers that make and read them")


def _box(axes: Any, left: float, row: int, width: float, colour: str, filled: bool) -> None:
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(
        FancyBboxPatch(
            (left, row - 0.3),
            width,
            0.6,
            boxstyle="round,pad=0,rounding_size=0.1",
            linewidth=1.3,
            edgecolor=colour,
            facecolor=colour if filled else PAPER,
        )
    )


def zeroing() -> None:
    """Two layers of the MLP: a hidden channel is a column of both, zeroed or cut."""
    path = SAMPLES / "digits_mlp.onnx"
    analysis = spa_cli.inspect(path)
    group = analysis.grouping.groups[-1]
    result = spa_cli.prune(path, ratio=0.5, method="l1", only=(group.name,))
    made, read = _ends(analysis, group)
    before, after = load(path).graph, load(result.model).graph
    zeroed = onnx.load(path)
    for tensor in zeroed.graph.initializer:
        value = before.array(tensor.name).copy()
        for axis, kept in result.plan.kept.get(tensor.name, {}).items():
            value[(slice(None),) * int(axis) + (np.setdiff1d(range(value.shape[int(axis)]), kept),)] = 0
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    far = _difference(zeroed, result.model)
    figure = Figure(figsize=(7.5, 4.2), layout=ConstrainedLayoutEngine(wspace=0.06))
    grid = figure.subplots(2, 3, height_ratios=[128, 20])
    limit = max(float(np.abs(before.array(n)).max()) for n in (made, read))
    columns = (("original", before), ("channels zeroed", load(zeroed).graph), ("channels cut", after))
    for column, (title, graph) in enumerate(columns):
        for row, value in enumerate((graph.array(made), graph.array(read).T)):
            axes = grid[row, column]
            strength = np.sqrt(np.abs(value) / limit)[..., None]
            colour = np.where(value[..., None] > 0, (0.29, 0.53, 0.80), (0.85, 0.40, 0.18))
            axes.imshow(np.concatenate([colour, strength], 2), aspect="auto", interpolation="nearest")
            axes.set_xlim(-0.5, group.channels - 0.5)
            axes.set_axis_off()
            if row == 0:
                axes.set_title(title, fontsize=9)
    figure.suptitle(
        f"digits_mlp: {made} above, {read} below, a column is a channel. Zeroed and cut, outputs are "
        + ("equal." if far == 0 else f"{far:.0e} apart."),
        fontsize=9,
    )
    save(figure, "zeroing", "Weights of two layers: original, with channels zeroed, and with channels cut")


def _ends(analysis: Analysis, group: Group) -> tuple[str, str]:
    """The weights that make and that read a group's channels."""
    names = {m.role: m.tensor for m in group.members}
    return names[PRODUCER], names[CONSUMER]


def _difference(one: onnx.ModelProto, other: onnx.ModelProto) -> float:
    """Between the floating-point outputs for the test images, at most."""
    with np.load(SAMPLES / "digits_mlp_test.npz") as data:
        feeds = {n: data[n] for n in data.files if n != "labels"}
    runs = [onnxruntime.InferenceSession(m.SerializeToString()).run(None, feeds) for m in (one, other)]
    pairs = [(a, b) for a, b in zip(*runs, strict=True) if a.dtype.kind == "f"]
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def errors() -> None:
    """What removals cost: the cumulative curve of each group, and in which order they go together."""
    request = Request.of(Options(ratio=0.5, calib=CALIB))
    ranked = score(analyse(load(MODEL), request), request)
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    styles = ["-", "--", ":", "-."]
    for number, (group, ranking) in enumerate(
        zip(ranked.subject.analysis.grouping.groups, ranked.rankings, strict=True)
    ):
        share = np.arange(1, group.channels + 1) / group.channels
        colour = (GONE, ACCENT, AFTER, MUTED)[number % 4]
        # losing the last channel is never allowed
        axes.plot(share[:-1], np.cumsum(ranking.loss)[:-1], styles[number // 4], color=colour, label=group.name)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("fraction of the group's channels removed, least important first")
    axes.set_ylabel("cumulative loss (log)")
    figure.legend(loc="outside right upper", fontsize=8)
    save(figure, "errors", "Cumulative loss of the groups of digits_resnet against the fraction removed")


def accuracy() -> None:
    """Accuracy against MACs: repaired with data, without, and only sliced."""
    ways: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
        ("obspa, 256 images", AFTER, "o-", {"calib": CALIB}),
        ("obspa, no data", ACCENT, "s--", {}),
        ("l1, sliced only", GONE, "^:", {"method": "l1"}),
    )
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, colour, style, options in ways:
        with TemporaryDirectory() as folder:
            sweep = spa_cli.sweep(MODEL, folder, points=BUDGETS, test=TEST, **options)
        macs = [p.macs for p in sweep.points]
        left.plot(
            macs, [100 * (p.accuracy or 0.0) for p in sweep.points], style, color=colour, label=name, markersize=4
        )
        right.plot(macs, [p.drift for p in sweep.points], style, color=colour, markersize=4)
    left.axhline(100 * (sweep.original.accuracy or 0.0), color=BEFORE, linewidth=1, zorder=0)
    for axes, label in ((left, "accuracy on 597 test images, %"), (right, "output drift (relative L2)")):
        axes.set_xlabel("MACs left (fraction of the original)")
        axes.set_ylabel(label)
        axes.set_xlim(0.95, 0.15)
    left.set_ylim(0, 103)
    left.legend(loc="lower left", fontsize=8)
    save(figure, "accuracy", "Accuracy and drift of digits_resnet against MACs, repaired and only sliced")


if __name__ == "__main__":
    with drawing():
        for picture in (groups, zeroing, errors, accuracy):
            picture()
