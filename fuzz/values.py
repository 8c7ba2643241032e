"""Values that files hold by accident or on purpose."""

from __future__ import annotations

from typing import Any

import numpy as np

INTEGERS = (
    0,
    1,
    -1,
    2,
    3,
    4,
    5,
    7,
    8,
    64,
    255,
    256,
    1000,
    65536,
    10**6,
    10**9,
    2**31 - 1,
    2**31,
    2**40,
    2**62,
    2**63 - 1,
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e38, -1e38, float("nan"), float("inf"), float("-inf"), 2.0**31, 1e9)
TEXTS = ("", "x", "SAME_UPPER", "NOTSET", "bilinear", "ij,jk->ik", "...", "../x", "é\u202e\x1b[31m", "a" * 300, "\n")


def integer(rng: Any, near: int | None = None) -> int:
    """A number near another one, or any of those that break things."""
    if near is not None and rng.random() < 0.4:
        # what is stored has 64 bits
        return int(np.clip(near + int(rng.integers(-2, 3)), -(2**63), 2**63 - 1))
    value = INTEGERS[int(rng.integers(len(INTEGERS)))]
    return -value if rng.random() < 0.3 else value


def number(rng: Any) -> float:
    """A floating-point number."""
    return FLOATS[int(rng.integers(len(FLOATS)))]


def text(rng: Any) -> str:
    """A short text."""
    return TEXTS[int(rng.integers(len(TEXTS)))]


def one_of(rng: Any, of: Any) -> Any:
    """One of several things, all as likely."""
    listed = list(of)
    return listed[int(rng.integers(len(listed)))]


def anything(rng: Any, depth: int = 0) -> Any:
    """A value that JSON and TOML can hold."""
    kind = int(rng.integers(8 if depth < 3 else 5))
    if kind == 0:
        return integer(rng)
    if kind == 1:
        return number(rng)
    if kind == 2:
        return text(rng)
    if kind == 3:
        return bool(rng.integers(2))
    if kind == 4:
        return None
    inside = [anything(rng, depth + 1) for _ in range(int(rng.integers(4)))]
    return inside if kind < 7 else {str(at): value for at, value in enumerate(inside)}


def damaged(rng: Any, data: bytes) -> bytes:
    """Bytes with some flipped, cut off, doubled, blanked or put in."""
    raw = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at, length = int(rng.integers(len(raw) + 1)), int(rng.integers(1, 64))
        kind = int(rng.integers(16))
        if kind == 0:
            raw = raw[:at]
        elif kind == 1:
            raw[at:at] = rng.bytes(length)
        elif kind == 2:
            raw[at : at + length] = b""
        elif kind == 3:
            raw[at : at + length] = bytes(len(raw[at : at + length]))
        elif kind == 4:
            raw[at:at] = raw[max(0, at - length) : at]
        elif at < len(raw):
            raw[at] ^= 1 << int(rng.integers(8))
    return bytes(raw)


def damaged_tree(rng: Any, tree: Any) -> Any:
    """JSON data with a value somewhere replaced, left out or doubled."""
    if rng.random() < 0.25 or not isinstance(tree, dict | list) or not tree:
        return integer(rng, tree) if isinstance(tree, int) and rng.random() < 0.5 else anything(rng)
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    key = one_of(rng, keys)
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    if rng.random() < 0.15:
        del copy[key]
    elif rng.random() < 0.15:
        if isinstance(copy, dict):
            copy[text(rng)] = copy.pop(key)
        else:
            copy.append(copy[key])
    else:
        copy[key] = damaged_tree(rng, copy[key])
    return copy
