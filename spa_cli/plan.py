"""The plan: what stays. The hinge between choosing and cutting; to and from JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spa_cli.analysis import Analysis
from spa_cli.channels.groups import Group, Grouping
from spa_cli.channels.selection import Selection
from spa_cli.channels.slices import slot_of
from spa_cli.errors import CutError, UsageError
from spa_cli.graph.model import Graph
from spa_cli.graph.states import State
from spa_cli.surgery.cut import Cut
from spa_cli.text import one_line, plural

SCHEMA = "spa.plan/1"
Kept = dict[str, dict[str, list[int] | list[list[int]]]]
Widths = dict[str, dict[str, int]]


@dataclass(frozen=True, repr=False)
class Plan:
    """``kept``: for every parameter that loses anything, the kept indices per axis (per block of axis 0 where they
    differ). ``hidden``: the same for parameters that are not plain tensors of the main graph (sparse initializers,
    weights inside the bodies of If, Loop and Scan). ``about`` rides beside: method, options, shapes, the digest.
    ``widths``: how many indices those axes had; of what it says nothing about (older plans) any number will do.
    ``names``: how many weights (no biases) the model had, and a digest of their names; ``{}`` in older plans.
    """

    kept: Kept
    about: dict[str, Any] = field(default_factory=dict)
    hidden: Kept = field(default_factory=dict)
    widths: Widths = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        of = self.about.get("model", "a model")
        return one_line(f"<Plan of {of}: {plural(len(self.kept) + len(self.hidden), 'weight')} to cut>")

    def to_json(self) -> str:
        """The plan file."""
        hidden = {"kept_hidden": self.hidden} if self.hidden else {}
        made_for = {key: found for key in ("widths", "names") if (found := getattr(self, key))}
        return json.dumps({"schema": SCHEMA, "kept": self.kept, **hidden, **made_for, **self.about}, indent=1) + "\n"

    def input_shapes(self, graph: Graph) -> dict[str, tuple[int, ...]]:
        """The shapes the plan was made at, for the inputs this model has."""
        given = self.about.get("input_shapes", {})
        if not isinstance(given, dict):
            raise UsageError('the plan\'s "input_shapes" has to be {input: [sizes]}')
        shapes = {}
        for name, shape in given.items():
            if not isinstance(shape, list) or not all(type(d) is int and d >= 0 for d in shape):
                raise UsageError(f"the plan's \"input_shapes\" for '{name}' is no list of sizes; write whole numbers")
            if name in graph.inputs:
                shapes[name] = tuple(shape)
        return shapes

    @property
    def tidy(self) -> list[str]:
        """The steps by which the model was tidied before; raises UsageError where it says something else."""
        given = self.about.get("tidy", {})
        if not isinstance(given, dict):
            raise UsageError('the plan\'s "tidy" has to be {step: how much it did}')
        return list(given)

    @property
    def shrinking(self) -> list[tuple[str, str]] | None:
        """States that lose channels, each an input with the output that gives it back; ``None`` where none do."""
        states = self.about.get("states", [])
        return [(one["input"], one["output"]) for one in states] or None

    @staticmethod
    def read(path: Path) -> Plan:
        """Read a plan file; raises UsageError if it isn't one."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(
                f"the plan '{path}' can't be read: {error.strerror or error}; give the file that --plan-out wrote"
            ) from error
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the plan '{path}' is not JSON: {error}; make it again with --plan-out") from error
        if not isinstance(data, dict) or data.get("schema") != SCHEMA or not isinstance(data.get("kept"), dict):
            raise UsageError(
                f'\'{path}\' is not a plan, which has "schema": "{SCHEMA}" and "kept"; make one with --plan-out'
            )
        hidden = data.pop("kept_hidden", {})
        if not isinstance(hidden, dict):
            raise UsageError(
                f"the plan '{path}' is malformed at \"kept_hidden\"; write {{tensor: {{axis: [indices]}}}}"
            )
        for name, axes in (*data["kept"].items(), *hidden.items()):
            ok = isinstance(axes, dict) and all(
                _is_axis(a) and isinstance(k, list) and _is_indices(k) for a, k in axes.items()
            )
            if not ok:
                raise UsageError(f"the plan '{path}' is malformed at tensor '{name}'; write {{axis: [indices]}}")
        widths = data.pop("widths", {})
        if not _are_widths(widths):
            raise UsageError(f"the plan '{path}' is malformed at \"widths\"; write {{tensor: {{axis: how many}}}}")
        names = data.pop("names", {})
        if not _are_names(names):
            raise UsageError(f"the plan '{path}' is malformed at \"names\"; write {{count: how many, digest: SHA-256}}")
        wrong = next((name for name, fits in _ABOUT.items() if name in data and not fits(data[name])), None)
        if wrong is not None:
            raise UsageError(f"the plan '{path}' is malformed at \"{wrong}\"; make it again with --plan-out")
        return Plan(data.pop("kept"), {k: v for k, v in data.items() if k != "schema"}, hidden, widths, names)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


# what is read of a plan beside what stays
_ABOUT: dict[str, Callable[[Any], bool]] = {
    "method": _is_text,
    "round_to": lambda value: _is_number(value) or _is_text(value),
    "uniform": lambda value: isinstance(value, bool),
    "device": _is_text,
    "predicted_latency": lambda value: value is None or _is_number(value),
    "multiples": _are_counts,
    "states": lambda value: isinstance(value, list) and all(map(State.of_json, value)),
    "tidy": lambda value: not isinstance(value, dict) or _are_counts(value),
    "blocks": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "repair": lambda value: value is None or isinstance(value, dict),
}


def _is_axis(text: str) -> bool:
    # no tensor has that many, and longer numbers Python does not read
    return text.isascii() and text.isdigit() and len(text) < 5


def _is_indices(kept: list[Any]) -> bool:
    if kept and all(isinstance(k, list) for k in kept):
        return all(_is_indices(k) and not (k and isinstance(k[0], list)) for k in kept)
    return all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in kept)


def _are_widths(found: Any) -> bool:
    return isinstance(found, dict) and all(
        isinstance(axes, dict)
        and all(_is_axis(a) and isinstance(n, int) and not isinstance(n, bool) and n > 0 for a, n in axes.items())
        for axes in found.values()
    )


def _are_names(found: Any) -> bool:
    # whoever edits a plan may leave them out, not half of them
    return found == {} or (
        isinstance(found, dict)
        and found.keys() == {"count", "digest"}
        and isinstance(found["count"], int)
        and _is_text(found["digest"])
    )


def _names_of(graph: Graph) -> dict[str, Any]:
    """Of all weights of layers, cut or not: scales and biases come and go with the exporter."""
    found = sorted(n for n in graph.weights() if len(graph.shape(n)) > 1)
    return {"count": len(found), "digest": hashlib.sha256("\0".join(found).encode()).hexdigest()}


def from_cut(work: Cut, about: dict[str, Any]) -> Plan:
    """The plan a cut carried out."""
    kept = {n: e for n in work.graph.weights() if (e := work.kept_indices(n))}
    widths = {n: {axis: work.graph.shape(n)[int(axis)] for axis in axes} for n, axes in kept.items()}
    hidden = {n: kept.pop(n) for n in work.graph.hidden & kept.keys()}
    return Plan(kept, about, dict(sorted(hidden.items())), widths, _names_of(work.graph))


def to_selection(plan: Plan, analysis: Analysis) -> Selection:
    """What a plan says about each group; raises UsageError if it does not fit this model or itself."""
    grouping, known = analysis.grouping, analysis.graph.parameters
    masks = {}
    for name, axes in (*plan.kept.items(), *plan.hidden.items()):
        if name not in known:
            raise UsageError(
                f"the plan names tensor '{name}', which this model doesn't have; give the model it was made from"
            )
        masks[name] = _entry_masks(name, axes, analysis.graph.shape(name), plan.widths.get(name, {}))
    names = _names_of(analysis.graph)
    if plan.names not in ({}, names):
        raise UsageError(
            f"the plan was made for '{plan.about.get('model', 'a model')}' with {plan.names['count']} weights "
            f"(biases not counted), this model has {names['count']}, not of the same names; give the model it was made "
            'from, or one retrained from it, or take "names" out of the plan'
        )
    selection = Selection(grouping)
    for index, group in enumerate(grouping.groups):
        keep = _read_group(grouping, group, masks)
        if keep is None or keep.all():
            continue
        if keep.ndim == 2 and len(set(keep.sum(1).tolist())) > 1:
            raise UsageError(
                f"the plan keeps different numbers of channels in the blocks of group '{group.name}'; "
                "keep as many in each"
            )
        selection.keep(index, keep)
    whole = _with_blocks(analysis, selection)
    _check_carried_out(grouping, selection, masks)
    return whole


def _with_blocks(analysis: Analysis, selection: Selection) -> Selection:
    """Groups of which nothing stays have to be those of blocks that can go whole; what dies with them goes, too."""
    emptied = selection.emptied
    if not emptied:
        return selection
    try:
        return selection.copy_emptied(analysis.costs.emptying.without(emptied).groups)
    except CutError as why:
        name = analysis.grouping.groups[min(emptied)].name
        raise UsageError(f"the plan keeps no channel of group '{name}' ({why}); keep at least one") from None


def _entry_masks(name: str, axes: dict[str, Any], shape: tuple[int, ...], widths: dict[str, int]) -> dict[int, Any]:
    result: dict[int, Any] = {}
    for axis_name, kept in axes.items():
        axis = int(axis_name)
        width = widths.get(axis_name)
        if width is not None and axis < len(shape) and shape[axis] != width:
            raise UsageError(
                f"the plan was made for {width} indices of '{name}' axis {axis}, this model has {shape[axis]}; "
                "give the model it was made from, or one of the same widths"
            )
        lists = kept if kept and isinstance(kept[0], list) else [kept]
        if axis >= len(shape) or any(i >= shape[axis] for k in lists for i in k):
            raise UsageError(
                f"the plan keeps an index of '{name}' axis {axis} that this model doesn't have; "
                "give the model it was made from"
            )
        mask = np.zeros((len(lists), shape[axis]), bool)
        for row, k in zip(mask, lists, strict=True):
            row[k] = True
        result[axis] = mask if kept and isinstance(kept[0], list) else mask[0]
    return result


def _read_group(grouping: Grouping, group: Group, masks: dict[str, dict[int, Any]]) -> Any:
    """A channel is gone if it is kept nowhere it occurs; ``None`` if no member is in the plan."""
    blocked = len(group.blocks) > 0
    keep: Any = None
    for member in group.members:
        mask = masks.get(member.tensor, {}).get(member.axis)
        if mask is None:
            continue
        if keep is None:
            keep = np.zeros((len(group.blocks), group.channels) if blocked else group.channels, bool)
        rows = grouping.rows[member.tensor, member.axis]
        slots = slot_of(rows, group.ids)
        if not blocked:
            if mask.ndim == 2 and not (mask == mask[0]).all():
                raise UsageError(
                    f"the plan keeps other indices in each block of '{member.tensor}' axis {member.axis}; "
                    "keep the same in all"
                )
            keep[slots[(slots >= 0) & (mask if mask.ndim == 1 else mask.any(0))]] = True
            continue
        block = slot_of(rows, group.blocks)
        if (block >= 0).any():
            if mask.ndim == 2:
                raise UsageError(
                    f"the plan lists blocks for '{member.tensor}' axis {member.axis}, which has none; "
                    "write one list of indices"
                )
            here = (slots >= 0) & mask
            keep[block[here], slots[here]] = True
        elif mask.ndim == 2:
            if len(mask) != len(group.blocks):
                raise UsageError(
                    f"the plan gives '{member.tensor}' axis {member.axis} in {len(mask)} blocks, "
                    f"it has {len(group.blocks)}; write a list for every block"
                )
            for b, line in enumerate(mask):
                keep[b, slots[(slots >= 0) & line]] = True
        else:
            keep[:, slots[(slots >= 0) & mask]] = True
    if blocked and keep is not None:
        # a block that is gone as a whole says nothing about its channels
        empty = ~keep.any(1)
        if empty.any() and not empty.all():
            keep[empty] = keep[~empty][0]
    return keep


def _check_carried_out(grouping: Grouping, selection: Selection, masks: dict[str, dict[int, Any]]) -> None:
    """A plan that asks for something no selection of whole groups gives is inconsistent."""
    for name, axes in masks.items():
        for axis, mask in axes.items():
            rows = grouping.rows.get((name, axis))
            if rows is None:
                raise UsageError(
                    f"the plan cuts '{name}' axis {axis}, of which nothing can be removed; take it out of the plan"
                )
            found = selection.mask(rows)
            agrees = np.array_equal(found, mask) if mask.ndim == 1 else found.sum() == mask[0].sum()
            if not agrees:
                raise UsageError(
                    f"the plan is not consistent at '{name}' axis {axis}: it keeps {int(mask.sum())} indices, "
                    f"the channels coupled with it elsewhere keep {int(found.sum())}"
                    "; change all members of a group together"
                )
    for group, keep in selection.groups():
        for member in group.members:
            if member.axis not in masks.get(member.tensor, {}) and not keep.all():
                raise UsageError(
                    f"the plan is not consistent: it cuts group '{group.name}' "
                    f"but not '{member.tensor}' axis {member.axis}; cut all members of a group or none"
                )
