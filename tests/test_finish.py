"""What a result has to keep beside its budget, and where its loss is expected."""

from __future__ import annotations

import numpy as np
import pytest

import spa_cli
from spa_cli.errors import UsageError, VerificationError
from tests.builders import build


def _classifier() -> object:
    """Every hidden unit matters to one class."""
    mixed = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))[0].astype(np.float32)
    return build(
        "(float[N,16] x) => (y) { h = MatMul(x, wa)  r = Relu(h)  y = MatMul(r, wb) }",
        wa=mixed,
        wb=3 * mixed.T,
    )


@pytest.fixture
def calib(tmp_path) -> str:
    np.savez(tmp_path / "calib.npz", x=np.random.default_rng(0).normal(size=(256, 16)).astype(np.float32))
    return str(tmp_path / "calib.npz")


def test_a_ruined_network_does_not_pass_min_agreement(tmp_path, calib) -> None:
    out = tmp_path / "small.onnx"
    with pytest.raises(VerificationError, match=r"arg-max agreement 0\.\d+, not at least min_agreement 0.95, on .*"):
        spa_cli.prune(_classifier(), out, ratio=0.5, calib=calib, round_to=1, min_agreement=0.95)
    assert not out.exists() and not list(tmp_path.glob("*.onnx*"))


def test_max_drift_beside_a_budget_is_a_gate(tmp_path, calib) -> None:
    out = tmp_path / "small.onnx"
    with pytest.raises(
        VerificationError, match=r"; ask for less, or give more samples with calib \(nothing was written\)"
    ):
        spa_cli.prune(_classifier(), out, ratio=0.5, calib=calib, round_to=1, max_drift=0.1)
    assert not out.exists()
    small = spa_cli.prune(_classifier(), out, ratio=0.5, calib=calib, round_to=1, max_drift=0.99, min_agreement=0.1)
    assert out.exists() and small.after.channels == 8


def test_the_group_most_of_the_loss_is_expected_of_is_named(calib) -> None:
    small = spa_cli.prune(_classifier(), ratio=0.8, calib=calib, round_to=1)
    assert not small.drift.resembles
    assert "of the loss is expected of 'wa' (13 of its 16 channels go)" in small.warnings[0]


def test_gates_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="min_agreement has to lie between 0 and 1, not 2"):
        spa_cli.prune(_classifier(), ratio=0.5, min_agreement=2.0)
    with pytest.raises(UsageError, match="together"):
        spa_cli.prune(_classifier(), ratio=0.5, min_accuracy=0.5, max_drift=0.2)
