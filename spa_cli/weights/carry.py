"""Carrying a plan out on weights: match, cut, write. Read top to bottom."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import onnx

from spa_cli.errors import OptionError, UsageError
from spa_cli.graph.model import Graph
from spa_cli.plan import Plan, to_selection
from spa_cli.progress import stage
from spa_cli.runtime.load import load
from spa_cli.shown import Shown
from spa_cli.text import count, one_line, plural
from spa_cli.tidy.steps import tidied
from spa_cli.weights.constants import settle
from spa_cli.weights.cut import Cutter
from spa_cli.weights.files import check_output, of_mapping, read, write
from spa_cli.weights.match import Matches, match_model, match_names
from spa_cli.weights.missing import require_all
from spa_cli.weights.repaired import put
from spa_cli.weights.tensors import Weights
from spa_cli.weights.warnings import warnings_of

Given: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Carried(Shown):
    """What was done: for every initializer of the plan the keys it is made of and how that was told (``"name"``,
    ``"value"``, ``"sibling"``); the shapes before and after of every key that was cut; how many numbers there were and
    are. ``weights`` are the smaller ones, ``weights.state`` is what a framework loads. ``repaired``: the keys that have
    the values of a repair.
    """

    source: str
    matched: dict[str, list[str]]
    how: dict[str, str]
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    params: tuple[int, int]
    out: Path | None
    weights: Weights = field(repr=False)
    warnings: list[str] = field(default_factory=list)
    repaired: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """How much was cut."""
        written = f", written to {self.out}" if self.out else ""
        before, after = map(count, self.params)
        return one_line(
            f"{self.source}: {plural(len(self.shapes), 'weight')} cut, {before} -> {after} numbers{written}"
        )


def carry(
    plan: Plan | Path,
    weights: Given,
    out: Path | None = None,
    *,
    model: str | os.PathLike[str] | onnx.ModelProto | None = None,
    exported_with: Given | None = None,
    repaired: str | os.PathLike[str] | onnx.ModelProto | None = None,
    force: bool = False,
) -> Carried:
    """Cut ``weights`` as ``plan`` says.

    ``model`` is what the plan was made for, to match by values what names don't tell; ``exported_with`` the weights as
    they were when it was exported, if they were trained since. ``repaired`` is the pruned model, whose values the
    smaller weights then have. Raises UsageError if the plan does not fit, a tensor of
    it is not found in the weights or can't be told from others, or the output can't be written; ModelError if the model
    can't be read. Nothing is written then.
    """
    if exported_with is not None and model is None:
        raise OptionError("--exported-with needs the model that was exported from it; give the model after the plan")
    if repaired is not None:
        _require_repairable(model, exported_with)
    if out is not None:
        given = (plan, weights, model, exported_with, repaired)
        check_output(out, [Path(g) for g in given if isinstance(g, (str, os.PathLike))], force)
    plan = plan if isinstance(plan, Plan) else Plan.read(plan)
    entries = {n: axes for n, axes in (plan.kept | plan.hidden).items() if axes}
    if not entries:
        raise UsageError("the plan keeps everything, there is nothing to cut; give one that removes channels")
    whole = next((n for n, axes in entries.items() if any(map(_nothing, axes.values()))), None)
    if whole is not None:
        raise UsageError(
            f"the plan takes out a whole block ('{whole}' keeps nothing), and a framework's module keeps its layers; "
            "cut the exported model with 'spa apply', or make a plan that keeps every block"
        )
    stage("reading the weights")
    cut = _read(weights)
    reference = cut if exported_with is None else _read(exported_with)
    if exported_with is not None:
        _require_alike(cut, reference)
    graph, warnings = None, list[str]()
    if model is not None:
        stage("reading the model")
        graph = _checked(plan, model)

    stage("matching names and values")
    if graph is None:
        matches = match_names(entries, reference)
    else:
        axes_cut = {n: {int(a) for a in axes} | _block_axis(axes) for n, axes in entries.items()}
        matches = match_model(axes_cut, graph, reference)
    fixed: tuple[str, ...] = ()
    if graph is not None and repaired is not None:
        stage("matching what the repair changed")
        pruned = load(repaired)
        found = put(entries, graph, pruned.graph, reference, pruned.name)
        cut, fixed = found.weights, found.keys
    stage("cutting")
    cutter = Cutter(entries, matches, reference, cut, plan.widths)
    cutter.cut_matched()
    cutter.cut_tied(sure=graph is not None)
    if graph is not None:
        settle(graph, matches, cutter, reference)
        missing = [n for n in entries if n not in matches.parts]
        taken = matches.taken | set(cutter.new)
        warnings = require_all(missing, graph, reference, taken, bool(matches.retrained), exported_with is not None)
    small = cut.with_cut(cutter.new)
    repair = plan.about.get("repair")
    if isinstance(repair, dict) and repair.get("refitted") and repaired is None:
        warnings.append(
            "the plan only cuts: the weights that obspa refitted are in the pruned .onnx; give that with --repaired "
            "and the model after the plan, or fine-tune"
        )
    warnings += warnings_of(cutter, matches, cut, graph is None)
    if out is not None:
        stage("writing")
        warnings += write(small, out, force)
    return _result(cut, small, matches, cutter, entries, out, warnings, fixed)


def _require_repairable(model: object, exported_with: object) -> None:
    if model is None:
        raise OptionError("--repaired finds its places through the model that was pruned; name that behind the plan")
    if exported_with is not None:
        raise OptionError(
            "--repaired holds what was fitted to the weights before they were trained again; leave it out, or "
            "--exported-with"
        )


def _read(given: Given) -> Weights:
    return of_mapping(given) if isinstance(given, Mapping) else read(Path(given))


def _nothing(kept: list[Any]) -> bool:
    """Whether no index is kept (in any block)."""
    return all(isinstance(k, list) and not k for k in kept)


def _block_axis(axes: Mapping[str, Any]) -> set[int]:
    """Lists of lists count blocks along the first axis."""
    return {0} if any(kept and isinstance(kept[0], list) for kept in axes.values()) else set()


def _require_alike(weights: Weights, reference: Weights) -> None:
    for key in {**weights.tensors, **reference.tensors}:
        a, b = (w.tensors[key].shape if key in w.tensors else None for w in (weights, reference))
        if a != b:
            said = [f"has shape {list(s)}" if s is not None else "is missing" for s in (a, b)]
            raise UsageError(
                f"'{key}' {said[0]} in '{weights.name}' and {said[1]} in '{reference.name}'; "
                "--exported-with takes the same weights as they were before"
            )


def _checked(plan: Plan, model: str | os.PathLike[str] | onnx.ModelProto) -> Graph:
    """The model's graph, if the plan is one for it and consistent."""
    from spa_cli.analysis import analyse_model

    source = load(model)
    if plan.tidy:
        source = tidied(source, plan.tidy)
    analysis = analyse_model(source, plan.input_shapes(source.graph), shrinking=plan.shrinking)
    if not to_selection(plan, analysis).kept:
        raise UsageError("the plan keeps everything, there is nothing to cut; give one that removes channels")
    return analysis.graph


def _result(
    before: Weights,
    after: Weights,
    matches: Matches,
    cutter: Cutter,
    entries: Mapping[str, Any],
    out: Path | None,
    warnings: list[str],
    repaired: tuple[str, ...],
) -> Carried:
    keys = cutter.keys_of()
    return Carried(
        source=before.name,
        matched={n: keys.get(n, []) for n in entries},
        how={n: matches.how[n] for n in entries if n in matches.how},
        shapes={k: (before.tensors[k].shape, t.shape) for k, t in after.tensors.items() if k in cutter.new},
        params=(before.elements, after.elements),
        out=out,
        weights=after,
        warnings=warnings,
        repaired=repaired,
    )
