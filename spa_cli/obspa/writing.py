"""Writing what was fitted where the network stores it."""

from __future__ import annotations

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.refit import Fit
from spa_cli.obspa.regression import Regression
from spa_cli.runtime.interpreter import Interpreter


def write_weight(layer: Layer, w: Array, pruned: Interpreter, operand: Array) -> None:
    """Write a matrix (g, o, p) in the place and form of the operand."""
    pruned.write(layer.stored.name, layer.stored.back(layer.restore(w, operand.shape), pruned.parameter))
    for between in layer.stored.chain:
        pruned.run(between.proto, again=True)


def write(layer: Layer, problem: Regression, found: Fit, pruned: Interpreter, operand: Array) -> None:
    """Write a fit: the weight, and the intercepts to the bias or the norm behind it; what a norm switches off stays."""
    w, b = found.w, found.b
    scale = problem.scale
    if scale is not None:
        dead = np.abs(scale) < 1e-6 * max(float(np.abs(scale).max()), 1e-12)
        w[dead], b[dead] = problem.matrix[dead], problem.offset[dead]
    around = layer.around
    if found.damping is not None:
        write_weight(layer, w, pruned, operand)
    if not problem.centred:
        return
    if around.bias is not None and problem.bias is not None:
        value = b.reshape(problem.bias.shape) / layer.beta
        pruned.write(around.bias.name, around.bias.back(value, pruned.parameter))
        for between in around.bias.chain:
            pruned.run(between.proto, again=True)
    elif scale is not None and around.norm is not None:
        beta = pruned.parameter(around.norm.inputs[2])
        assert beta is not None
        pruned.write(around.norm.inputs[2], beta + (scale * (b - problem.offset)).reshape(-1))
