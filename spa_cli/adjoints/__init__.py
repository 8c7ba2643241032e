"""Reverse mode: the adjoint of every operator as ONNX nodes, so that onnxruntime computes gradients."""

from spa_cli.adjoints import (
    attention,
    contraction,
    convolution,
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
)

__all__ = [
    "attention",
    "contraction",
    "convolution",
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
]
