"""Criteria from derivatives, against the original module's own autograd (needs the extra train)."""

from __future__ import annotations

import numpy as np
import pytest

import spa_cli
from spa_cli.calibration.focus import Focus
from spa_cli.calibration.split import held_back_index
from spa_cli.errors import UsageError
from spa_cli.gradients import backend
from spa_cli.importance.criteria import CRITERIA, GRADIENTS
from spa_cli.options import Options
from tests.builders import analysed, build, random, rankings
from tests.extras import needs

NAMES = sorted(n for n, c in CRITERIA.items() if c.needs == GRADIENTS)
W1, W2 = random((5, 8), "g1"), random((8, 3), "g2")
NET = build("(float[N,5] x) => (y) { a = MatMul(x, w1) h = Relu(a) y = MatMul(h, w2) }", w1=W1, w2=W2)


def _module():
    """(w1, w2) as torch has them, and the loss of the labelled samples, one by one."""
    needs("torch")
    import torch

    try:
        backend.require()
    except UsageError as error:
        pytest.skip(str(error))
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((32, 5)).astype(np.float32), rng.integers(0, 3, 32)
    weights = [torch.tensor(w, dtype=torch.float64, requires_grad=True) for w in (W1, W2)]

    # the rest is held back to be judged on
    fitted = np.delete(np.arange(32), held_back_index(32, Options(), Focus()))

    def losses():
        scores = torch.relu(torch.tensor(x[fitted], dtype=torch.float64) @ weights[0]) @ weights[1]
        return torch.nn.functional.cross_entropy(scores, torch.tensor(labels[fitted]), reduction="none")

    return torch, x, labels, weights, losses


@pytest.mark.parametrize("name", NAMES)
def test_against_autograd(name, tmp_path) -> None:
    torch, x, labels, weights, losses = _module()
    gradients = torch.autograd.grad(losses().mean(), weights, create_graph=True)
    product = torch.autograd.grad(sum((g * g.detach()).sum() for g in gradients), weights)
    squares = [
        sum(torch.autograd.grad(one, w, retain_graph=True)[0] ** 2 for one in losses()) / len(losses()) for w in weights
    ]
    elements = {
        "snip": [(g * w).abs() for g, w in zip(gradients, weights, strict=True)],
        "taylor": [g * w for g, w in zip(gradients, weights, strict=True)],
        "fisher": [s * w**2 / 2 for s, w in zip(squares, weights, strict=True)],
        "grasp": [p * w for p, w in zip(product, weights, strict=True)],
        "crop": [(p * w).abs() for p, w in zip(product, weights, strict=True)],
    }[name]
    made, read = elements[0].sum(0).detach().numpy(), elements[1].sum(1).detach().numpy()
    expected = made**2 + read**2 if name == "taylor" else made + read
    np.savez(tmp_path / "calib.npz", x=x, labels=labels)
    (found,) = rankings(analysed(NET), name, calib=tmp_path / "calib.npz", aggregation="sum")
    np.testing.assert_allclose(found.scores, expected, rtol=1e-3, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_without_labels_the_model_draws_its_own(name) -> None:
    _module()
    (first,), (again,) = (rankings(analysed(NET), name, calib_samples=32) for _ in range(2))
    np.testing.assert_array_equal(first.scores, again.scores)
    assert np.ptp(first.scores) > 0


def test_without_the_extra_it_says_what_to_install(monkeypatch) -> None:
    def missing() -> None:
        raise UsageError("gradients need PyTorch; install them by pip install torch onnx2torch")

    monkeypatch.setattr(backend, "require", missing)
    with pytest.raises(UsageError, match="pip install torch onnx2torch"):
        spa_cli.prune(NET, ratio=0.3, method="snip", calib_samples=8)
