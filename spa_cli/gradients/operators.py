"""Operators that onnx2torch lacks, or takes only with weights it can look up: one thin function each.

Such a function gets the call (attributes, version) and the tensors of its inputs, ``None`` where one is absent, and
returns a tensor, or a tuple where the node has several outputs. Weights are inputs like any other, so that a gradient
reaches the initializer itself, in its own shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# torch is typed only where it is installed
Tensor = Any
Function = Callable[..., Any]

MICROSOFT = "com.microsoft"

TABLE: dict[tuple[str, str], Function] = {}


@dataclass(frozen=True)
class Call:
    """One node: its operator, the operator's version, attributes, and how many outputs it has."""

    op: str
    version: int
    outputs: int
    attrs: dict[str, Any] = field(default_factory=dict)

    def attr(self, name: str, default: Any = None) -> Any:
        """Value of an attribute, or ``default``."""
        return self.attrs.get(name, default)


def operator(*names: str, domain: str = "") -> Callable[[Function], Function]:
    """Register a function for operators of ``domain``."""

    def enter(function: Function) -> Function:
        for name in names:
            TABLE[domain, name] = function
        return function

    return enter


def ints(tensor: Tensor) -> list[int]:
    """A tensor of integers as a list, a scalar as a list of one."""
    return [int(i) for i in tensor.reshape(-1).tolist()]
