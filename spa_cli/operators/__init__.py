"""One record per operator: all that is known of it, written in the file of its family and asked for by ``record_of``.

``relate(node, state)``
    gives the outputs their axes and says which axes keep the same indices (``unify``), which can't shrink
    (``freeze``), and where removing is not zeroing (``inexact``); raises ``Decline`` with a sentence otherwise.
``rewrite(node, cut)``
    after the cut, brings attributes and constant inputs that carry sizes or positions in line (optional).
facts
    labels of a sum of products, costs, scales of a norm, inputs that are no weights ...: see ``registry.Record``.

``labelled.py`` reads the relation of a sum of products off its labels; ``walk.py`` relates the whole graph,
``rewrite.py`` rewrites it.
"""

from __future__ import annotations

from spa_cli.operators import (  # noqa: F401 - importing a family registers its records
    attention,
    control_flow,
    convolution,
    elementwise,
    experts,
    frozen,
    fused_attention,
    indexing,
    joining,
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
    scattering,
    sequences,
    sources,
)
from spa_cli.operators.registry import Record, contracting, record_of, records, shape_rules

__all__ = ["Record", "contracting", "record_of", "records", "shape_rules"]
