"""Reverse mode: the adjoint of every operator as ONNX nodes, so that onnxruntime computes gradients."""

from spa_cli.adjoints import (
    contraction,
    elementwise,
    indexing,
    movement,
    norms,
    pooling,
    quantization,
    recurrent,
    reduction,
    resizing,
    windows,
)

__all__ = [
    "contraction",
    "elementwise",
    "indexing",
    "movement",
    "norms",
    "pooling",
    "quantization",
    "recurrent",
    "reduction",
    "resizing",
    "windows",
]
