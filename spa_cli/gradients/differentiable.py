"""A model whose loss can be differentiated by its weights."""

from __future__ import annotations

from collections.abc import Sequence

from spa_cli.gradients.loss import Loss
from spa_cli.gradients.network import Batch, TorchNetwork
from spa_cli.graph.model import Array


class Differentiable(TorchNetwork):
    """A model in torch, with the derivatives of a loss on batches of samples."""

    def gradient(self, batches: Sequence[Batch], loss: Loss | None = None) -> dict[str, Array]:
        """dL/dtheta per name, float64 in the initializer's shape; L is the weighted mean over all samples."""
        from spa_cli.gradients.derivatives import gradient

        return gradient(self, batches, loss or Loss())

    def hessian_gradient(self, batches: Sequence[Batch], loss: Loss | None = None) -> dict[str, Array]:
        """H g per name: the Hessian of L times its gradient (GraSP, Wang, Zhang & Grosse 2020, arXiv 2002.07376).

        Raises ModelError if an operator has no second derivative.
        """
        from spa_cli.gradients.derivatives import hessian_gradient

        return hessian_gradient(self, batches, loss or Loss())

    def fisher(self, batches: Sequence[Batch], loss: Loss | None = None) -> dict[str, Array]:
        """Weighted mean over samples of the squared gradient of a sample's loss (the diagonal of the Fisher matrix)."""
        from spa_cli.gradients.fisher import fisher

        return fisher(self, batches, loss or Loss())
