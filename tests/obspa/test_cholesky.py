"""Factors of large matrices in blocks, in single precision, against LAPACK's in double precision."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli import threads
from spa_cli.obspa import cholesky
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_bytes_on_any_number_of_cores(monkeypatch, dtype) -> None:
    """Parts of 32 rows; on three cores several are worked on at the same time."""
    h, left = covariance(200, 600, dtype), np.random.default_rng(3).standard_normal((70, 200)).astype(dtype)

    def found() -> list[bytes]:
        lower = factored(h.copy(), 48)
        made = (lower, inverted(lower.copy(), 48), forward(lower, left, 48), solved(lower, left, 48), product(left, h))
        return [each.tobytes() for each in made]

    monkeypatch.setattr(cholesky, "_ROWS", 32)
    several = []
    for cores in (1, 3):
        monkeypatch.setattr(threads, "cores", lambda cores=cores: cores)
        several.append(found())
    assert several[0] == several[1]


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
