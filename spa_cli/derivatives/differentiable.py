"""A model whose loss can be differentiated by its weights."""

from __future__ import annotations

from collections.abc import Sequence

from spa_cli.derivatives.fisher import fisher
from spa_cli.derivatives.hessian import hessian_gradient
from spa_cli.derivatives.loss import Loss
from spa_cli.derivatives.network import Batch, Network
from spa_cli.derivatives.slopes import gradient
from spa_cli.graph.model import Array


class Differentiable(Network):
    """A model with the derivatives of a loss on batches of samples."""

    def gradient(self, batches: Sequence[Batch], loss: Loss = Loss()) -> dict[str, Array]:
        """dL/dtheta per name, float64 in the initializer's shape; L is the weighted mean over all samples."""
        return gradient(self, batches, loss)

    def hessian_gradient(self, batches: Sequence[Batch], loss: Loss = Loss()) -> dict[str, Array]:
        """H g per name: the Hessian of L times its gradient (GraSP, Wang, Zhang & Grosse 2020, arXiv 2002.07376)."""
        return hessian_gradient(self, batches, loss)

    def fisher(self, batches: Sequence[Batch], loss: Loss = Loss()) -> dict[str, Array]:
        """Weighted mean over samples of the squared gradient of a sample's loss (the diagonal of the Fisher matrix)."""
        return fisher(self, batches, loss)
