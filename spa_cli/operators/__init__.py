"""One rule per operator: how it relates the axes of its tensors, and how its node changes after a cut.

A rule has two halves, written side by side in the file of its family:

``relate(node, state)``
    gives the outputs their axes and says which axes keep the same indices (``unify``), which can't shrink
    (``freeze``), and where removing is not zeroing (``inexact``); raises ``Decline`` with a sentence otherwise.
``rewrite(node, cut)``
    after the cut, brings attributes and constant inputs that carry sizes or positions in line (optional).
"""

from __future__ import annotations

from spa_cli.operators import (  # noqa: F401 - importing a family registers its rules
    attention,
    control_flow,
    convolution,
    elementwise,
    experts,
    frozen,
    fused_attention,
    indexing,
    matmul,
    movement,
    normalization,
    packed,
    pooling,
    positions,
    quantization,
    recurrent,
    reduction,
    rotary,
    sequences,
    sources,
)
from spa_cli.operators.registry import Record, contracting, record_of, records, shape_rules

__all__ = ["Record", "contracting", "record_of", "records", "shape_rules"]
