"""Cutting the tensors that initializers were found in."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from spa_cli.errors import UsageError
from spa_cli.graph.model import Array
from spa_cli.surgery.remaining import removed_mask
from spa_cli.weights.layout import Part
from spa_cli.weights.match import SIBLING, Matches
from spa_cli.weights.shrink import shrunk
from spa_cli.weights.tensors import Weights, bits, is_constant, is_number

Entry = dict[str, Any]


class Cutter:
    """``new`` are the smaller tensors of ``weights``; ``lost`` tells for every one of them, along each axis whose
    indices go as a whole, which went. ``reference`` holds the values that were matched, ``entries`` are the plan's, and
    ``widths`` how many indices their axes had where it was made.
    """

    def __init__(
        self,
        entries: Mapping[str, Entry],
        matches: Matches,
        reference: Weights,
        weights: Weights,
        widths: Mapping[str, Mapping[str, int]],
    ) -> None:
        self.new: dict[str, Array] = {}
        self.lost: dict[str, dict[int, Array]] = {}
        self.tied: dict[str, str] = {}
        self.entries, self._matches, self._widths = entries, matches, widths
        self._reference, self._weights = reference, weights
        self._owners: dict[str, list[str]] = defaultdict(list)

    def gone(self, name: str, shape: tuple[int, ...]) -> Array:
        """Which elements of an initializer the plan removes; raises UsageError if it has not that shape."""
        entry = self.entries.get(name, {})
        for axis, kept in entry.items():
            lists = kept if kept and isinstance(kept[0], list) else [kept]
            size = shape[int(axis)] if int(axis) < len(shape) else 0
            width = self._widths.get(name, {}).get(axis, size)
            if size and width != size:
                raise UsageError(
                    f"the plan was made for {width} indices of '{name}' along axis {axis}, and its shape in "
                    f"'{self._weights.name}' is {list(shape)}; give the model too, or the weights that belong to it"
                )
            if any(i >= size for k in lists for i in k) or (lists is kept and shape[0] % len(lists)):
                raise UsageError(
                    f"the plan cuts '{name}' along axis {axis} in a way that its shape {list(shape)} in "
                    f"'{self._weights.name}' doesn't have; give the model too, or the weights that belong to it"
                )
        return removed_mask(shape, entry)

    def cut_matched(self) -> None:
        """Cut what was found by name and by value.

        Raises UsageError where two initializers disagree about a tensor, or what stays of one is no tensor.
        """
        claims: dict[str, list[tuple[str, Part]]] = defaultdict(list)
        for name, parts in self._matches.parts.items():
            for part in parts:
                claims[part.key].append((name, part))
        for key, own in claims.items():
            # it refuses a tensor that lacks an axis of the plan
            gone = self._merged(key, own)
            first = [a for n, p in own if self._in_blocks(n) for a in p.positions(0)]
            self._cut(key, gone, [n for n, _ in own], first)

    def cut_sibling(self, key: str, gone: Array, name: str) -> None:
        """Cut a tensor of a single line that was told by its neighbours."""
        self._cut(key, gone.reshape(self._weights.tensors[key].shape), [name], ())
        self._matches.how.setdefault(name, SIBLING)
        self._matches.parts.setdefault(name, [])

    def cut_tied(self, sure: bool) -> None:
        """Cut tensors that are the same as ones that were cut, under keys nothing else claims.

        Without a model to compare with (``sure``), shared memory counts where the file tells of it.
        """
        tensors, storage = self._reference.tensors, self._reference.storage
        free = set(tensors) - self._matches.taken - set(self.new)
        for key in list(self.new):
            tensor = tensors[key]
            if not is_number(tensor.dtype) or is_constant(tensor):
                continue
            for other in sorted(free):
                twin = tensors[other]
                if twin.shape != tensor.shape or twin.dtype != tensor.dtype:
                    continue
                same = np.array_equal(bits(twin), bits(tensor)) if sure or not storage else None
                if storage[key] == storage[other] if same is None else same:
                    free.remove(other)
                    self.tied[other] = key
                    own = [(n, p) for n, parts in self._matches.parts.items() for p in parts if p.key == key]
                    first = [a for n, p in own if self._in_blocks(n) for a in p.positions(0)]
                    self._cut(other, self._merged(key, own), [n for n, _ in own], first)
                    for name, part in own:
                        self._matches.add(name, [dataclasses.replace(part, key=other)], self._matches.how[name])

    def keys_of(self) -> dict[str, list[str]]:
        """The keys an initializer was cut in."""
        found: dict[str, list[str]] = defaultdict(list)
        for key, names in self._owners.items():
            for name in dict.fromkeys(names):
                found[name].append(key)
        return found

    def _in_blocks(self, name: str) -> bool:
        return any(kept and isinstance(kept[0], list) for kept in self.entries.get(name, {}).values())

    def _merged(self, key: str, own: list[tuple[str, Part]]) -> Array:
        shape = self._reference.tensors[key].shape
        gone, told = np.zeros(shape, bool), np.zeros(shape, bool)
        for name, part in own:
            here = part.project(self.gone(name, part.own.shape), False)
            if len(own) > 1:
                says = part.project(np.ones(part.own.shape, bool), False)
                if (says & told & (here != gone)).any():
                    names = " and ".join(repr(n) for n in dict.fromkeys(n for n, _ in own))
                    raise UsageError(
                        f"'{key}' of '{self._reference.name}' holds the values of {names}, which the plan cuts "
                        "differently; give weights that were trained, or export without sharing them"
                    )
                told |= says
            gone |= here
        return gone

    def _cut(self, key: str, gone: Array, names: list[str], first: Any) -> None:
        self._owners[key] += names
        if not gone.any():
            return
        small = None if gone.all() else shrunk(self._weights.tensors[key], gone, first)
        if small is None:
            raise UsageError(
                f"what the plan leaves of '{names[0]}' is no tensor in '{key}' of '{self._weights.name}' "
                f"{list(gone.shape)}: its axes lie differently there; make a plan that cuts whole axes of it alike"
            )
        self.new[key] = small
        lost = {}
        for axis in range(gone.ndim):
            line: Array = np.logical_and.reduce(np.moveaxis(gone, axis, 0).reshape(gone.shape[axis], -1), axis=1)
            if gone.shape[axis] > 1 and (~line).sum() == small.shape[axis]:
                lost[axis] = line
        self.lost[key] = lost
