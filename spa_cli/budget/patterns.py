"""Patterns of ``--only`` and ``--ignore`` that say nothing about a model: refused, not carried out as if they did."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Iterable
from fnmatch import fnmatchcase

import numpy as np

from spa_cli.budget.constraints import Constraints, names
from spa_cli.channels.groups import Grouping
from spa_cli.errors import OptionError
from spa_cli.graph.model import Graph


def check_patterns(
    constraints: Constraints, grouping: Grouping, graph: Graph, model: str, of_many: bool = False
) -> list[str]:
    """Raise OptionError for a pattern that neither restricts nor protects anything.

    ``--only`` has to name a group or what makes one. ``--ignore`` may name what nothing can be removed of, but not what
    channels only pass through, which it would not protect. ``of_many``: the pattern may be meant for another file, and
    a sentence is given instead; unless all of ``--only`` are.
    """
    makers, every = (set[str]().union(*(names(g, makers=m) for g in grouping.groups)) for m in (True, False))
    hopeless = not any(_matches(pattern, makers) for pattern in constraints.only)
    told: list[str] = []
    for pattern in (p for p in constraints.only if not _matches(p, makers)):
        if not of_many or hopeless:
            raise OptionError(_said_of_only(pattern, makers, graph, model))
        told.append(_said_of_only(pattern, makers, graph, model))
    for pattern in (p for p in constraints.ignore if not _matches(p, every)):
        passing = _passing(pattern, grouping, graph)
        if passing is None:
            continue
        if not of_many:
            raise OptionError(_said_of_ignore(pattern, every, passing, model))
        told.append(_said_of_ignore(pattern, every, passing, model))
    return told


def _said_of_only(pattern: str, makers: set[str], graph: Graph, model: str) -> str:
    if _matches(pattern, _named(graph)):
        return (
            f"--only '{pattern}' names nothing in '{model}' that makes channels which can go; 'spa inspect' lists the "
            "groups"
        )
    return f"--only '{pattern}' names no group, tensor or node of '{model}'; {_advice(pattern, makers)}"


def _said_of_ignore(pattern: str, every: set[str], passing: str, model: str) -> str:
    if passing:
        return (
            f"--ignore '{pattern}' names only what channels of group '{passing}' pass through; name the group instead"
        )
    return f"--ignore '{pattern}' names no group, tensor or node of '{model}'; {_advice(pattern, every)}"


def _advice(pattern: str, known: set[str]) -> str:
    near = difflib.get_close_matches(pattern, sorted(known), 2)
    listed = " or ".join(f"'{glob.escape(n)}'" for n in near)
    return f"did you mean {listed}?" if near else "'spa inspect' lists the groups"


def _matches(pattern: str, known: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in known)


def _named(graph: Graph) -> set[str]:
    """Every tensor and every node, in bodies too."""
    tensors = {name for node in graph.all_nodes for name in (*node.inputs, *node.outputs) if name}
    return {*tensors, *graph.parameters, *graph.inputs, *graph.outputs, *(node.label for node in graph.all_nodes)}


def _passing(pattern: str, grouping: Grouping, graph: Graph) -> str | None:
    """The first group whose channels pass what the pattern names, "" if it names nothing, ``None`` if none does."""
    found = {name for name in _named(graph) if fnmatchcase(name, pattern)}
    if not found:
        return ""
    touched = found | {t for n in graph.all_nodes if n.label in found for t in (*n.inputs, *n.outputs)}
    ids = [np.unique(rows) for (tensor, _), rows in grouping.rows.items() if tensor in touched]
    there = np.concatenate([np.zeros(0, np.int64), *ids])
    return next((group.name for group in grouping.groups if np.isin(group.ids, there).any()), None)
