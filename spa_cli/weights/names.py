"""Initializers and the tensors of the same name, up to what wrappers put in front of names."""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from spa_cli.graph.model import Array
from spa_cli.weights.layout import squeezed

# what torch.compile, data parallelism and checkpointing put into names, anywhere; wrappers and collections, in front
_ANYWHERE = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_IN_FRONT = frozenset({"module", "model", "params"})
Name = tuple[str, ...]


def parts(name: str) -> Name:
    """A name without wrappers, part by part."""
    found = [p for p in re.split(r"[./]", name) if p and p not in _ANYWHERE]
    while len(found) > 1 and found[0] in _IN_FRONT:
        found.pop(0)
    return tuple(found)


def module(key: str) -> str:
    """What a tensor's siblings have in common with it: its name up to the last part, separator included."""
    return key[: max(key.rfind("."), key.rfind("/")) + 1]


def by_name(names: Iterable[str], keys: Iterable[str]) -> dict[str, list[str]]:
    """For every name the keys it may stand for: none, one, or several if that is ambiguous.

    The same name; or the same without wrappers; or, if that gives nothing at all, the same behind a prefix that all
    names (or all keys) have in common.
    """
    names, keys = list(names), list(keys)
    known, bare = set(keys), defaultdict[Name, list[str]](list)
    for key in keys:
        bare[parts(key)].append(key)
    found = {n: [n] if n in known else bare.get(parts(n), []) for n in names}
    return found if any(found.values()) else _by_prefix(names, bare)


def _by_prefix(names: list[str], bare: Mapping[Name, list[str]]) -> dict[str, list[str]]:
    """Names behind a prefix: the one that fits most of them, on the side of the keys or on their own."""
    fits: dict[str, dict[tuple[bool, Name], list[str]]] = {n: {} for n in names}
    ends = defaultdict[Name, list[Name]](list)
    for key in bare:
        for i in range(1, len(key)):
            ends[key[i:]].append(key)
    for name in names:
        own = parts(name)
        for key in ends.get(own, []):
            fits[name][True, key[: len(key) - len(own)]] = bare[key]
        for i in range(1, len(own)):
            if own[i:] in bare:
                fits[name][False, own[:i]] = bare[own[i:]]
    ranked = Counter(prefix for found in fits.values() for prefix in found).most_common(2)
    if len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
        # no prefix is common; where several would do, that is worth saying
        candidates = {n: [k for keys in found.values() for k in keys] for n, found in fits.items()}
        return {n: keys if len(keys) > 1 else [] for n, keys in candidates.items()}
    return {n: found.get(ranked[0][0], []) if ranked else [] for n, found in fits.items()}


def nearest(name: str, shape: tuple[int, ...] | None, tensors: Mapping[str, Array]) -> list[str]:
    """Up to three keys that may be meant: of the same sizes if there are any, the most alike in name first."""
    sizes = None if shape is None else sorted(shape[a] for a in squeezed(shape))
    alike = [k for k, t in tensors.items() if sizes == sorted(t.shape[a] for a in squeezed(t.shape))]
    candidates = alike or list(tensors)
    return difflib.get_close_matches(name, candidates, 3, 0.0)
