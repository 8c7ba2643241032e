"""All operators of ``operators.TABLE``: importing their modules, which need torch, enters them."""

from __future__ import annotations

from spa_cli.gradients import (  # noqa: F401
    operators_attention,
    operators_linear,
    operators_norm,
    operators_pointwise,
    operators_quantized,
    operators_recurrent,
    operators_shape,
    operators_window,
)
from spa_cli.gradients.operators import TABLE

__all__ = ["TABLE"]
