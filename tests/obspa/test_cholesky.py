"""Factors of large matrices in blocks, in single precision, against LAPACK's in double precision."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.obspa.cholesky import factored, forward, inverted, product, solved


def covariance(p: int, rows: int, dtype=np.float64) -> np.ndarray:
    rng = np.random.default_rng(p)
    x = rng.standard_normal((rows, p)) * np.geomspace(1, 30, p)
    return (x.T @ x / rows).astype(dtype)


@pytest.mark.parametrize("block", [1, 7, 16, 64])
def test_the_factor_is_that_of_lapack(block) -> None:
    h = covariance(48, 200)
    expected = np.linalg.cholesky(h)
    np.testing.assert_allclose(factored(h.copy(), block), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("block", [5, 48])
def test_its_inverse_and_solutions(block) -> None:
    h, left = covariance(48, 200), np.random.default_rng(1).standard_normal((3, 48))
    lower = factored(h.copy(), block)
    np.testing.assert_allclose(solved(lower, left, block), np.linalg.solve(h, left.T).T, rtol=1e-7)
    np.testing.assert_allclose(forward(lower, left, block) @ lower.T, left, rtol=1e-7)
    np.testing.assert_allclose(product(h, left.T), h @ left.T, rtol=1e-12)
    np.testing.assert_allclose(inverted(lower.copy(), block) @ lower, np.eye(48), atol=1e-9)


def test_single_precision_solves_what_is_damped_as_double_precision_does() -> None:
    """As ``refit`` damps: a thousandth of the mean of the diagonal."""
    h = covariance(300, 900)
    h[np.diag_indices(300)] += 1e-3 * np.diagonal(h).mean()
    left = np.random.default_rng(2).standard_normal((4, 300))
    expected = np.linalg.solve(h, left.T).T
    found = solved(factored(h.astype(np.float32), 64), left.astype(np.float32), 64)
    assert found.dtype == np.float32
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)


def test_what_rounding_made_negative_is_lifted_a_little() -> None:
    """Fewer rows than coordinates, in single precision: the least eigenvalues are rounding."""
    h = covariance(64, 8, np.float32)
    assert np.linalg.eigvalsh(h.astype(np.float64)).min() < 0
    lower = factored(h.copy(), 16)
    missed = np.abs(lower @ lower.T - h).max()
    assert missed <= 1.01e-4 * np.diagonal(h).mean()


def test_what_is_no_covariance_is_refused() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        factored(-np.eye(4))
