"""Reverse mode: the adjoint of every operator as ONNX nodes, so that onnxruntime computes gradients."""

from spa_cli.adjoints import (
    contraction,
    convolution,
    elementwise,
    indexing,
    movement,
    norms,
    pooling,
    quantization,
    recurrent,
    reduction,
    resizing,
)

__all__ = [
    "contraction",
    "convolution",
    "elementwise",
    "indexing",
    "movement",
    "norms",
    "pooling",
    "quantization",
    "recurrent",
    "reduction",
    "resizing",
]
