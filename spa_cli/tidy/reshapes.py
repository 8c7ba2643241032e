"""Reshape to a size that is worked out, of which all but one entry are the same for any input."""

from __future__ import annotations

import numpy as np

from spa_cli.tidy.draft import STANDARD, Draft, attribute, input_of
from spa_cli.tidy.sizes import sizes_of


def settle_reshapes(draft: Draft) -> int:
    """The entry that is not known is what the others leave: a constant says the same."""
    settled = 0
    for node in draft.graph.node:
        if node.op_type != "Reshape" or node.domain not in STANDARD or attribute(node, "allowzero", 0):
            continue
        name = input_of(node, 1)
        entries = None if not name or name in draft.constants else _entries(draft, name)
        if entries is None or entries.count(None) != 1 or -1 in entries:
            continue
        node.input[1] = draft.store_new(f"{node.output[0]}_shape", np.array([-1 if e is None else e for e in entries]))
        settled += 1
    return settled


def _entries(draft: Draft, name: str) -> list[int | None] | None:
    """A list of sizes, ``None`` for those that depend on the input; ``None`` where not even their number is known."""
    value, node = draft.array(name), draft.producers.get(name)
    if value is not None:
        return [int(e) for e in value] if value.ndim == 1 else None
    if node is not None and node.op_type == "Concat" and node.domain in STANDARD:
        parts = [_entries(draft, i) for i in node.input]
        return None if any(p is None for p in parts) else [e for p in parts for e in p or ()]
    sizes = None if node is None else sizes_of(node, draft)
    if sizes is not None and sizes.ndim == 1:
        return [s if isinstance(s, int) else None for s in sizes]
    dims = draft.dims(name)
    return [None] * dims[0] if dims is not None and len(dims) == 1 and isinstance(dims[0], int) else None
