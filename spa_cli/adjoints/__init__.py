"""Reverse mode: the adjoint of every operator as ONNX nodes, so that onnxruntime computes gradients."""

from spa_cli.adjoints import (
    attention,
    contraction,
    convolution,
    elementwise,
    indexing,
    integers,
    movement,
    norms,
    parts,
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
    "indexing",
    "integers",
    "movement",
    "norms",
    "parts",
    "pooling",
    "quantization",
    "recurrent",
    "reduction",
    "resizing",
]
