"""Reverse mode: the adjoint of every operator as ONNX nodes, so that onnxruntime computes gradients."""

from spa_cli.adjoints import (
    attention,
    contraction,
    elementwise,
    fused,
    indexing,
    integers,
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
    "attention",
    "contraction",
    "elementwise",
    "fused",
    "indexing",
    "integers",
    "movement",
    "norms",
    "pooling",
    "quantization",
    "recurrent",
    "reduction",
    "resizing",
    "windows",
]
