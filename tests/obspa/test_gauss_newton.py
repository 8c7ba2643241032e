from dataclasses import replace

import numpy as np

from spa_cli.obspa import gauss_newton as module
from spa_cli.obspa.gauss_newton import Block, PairSamples, conjugate_gradients, gauss_newton
from spa_cli.obspa.product import Product
from tests.builders import build
from tests.obspa.test_layers import layers_of

RNG = np.random.default_rng(0)


def test_conjugate_gradients_solve_a_symmetric_system() -> None:
    root = RNG.normal(size=(12, 12))
    matrix = root @ root.T + np.eye(12)
    wanted = RNG.normal(size=12)
    found = conjugate_gradients(lambda v: matrix @ v, wanted, lambda v: v / np.diag(matrix), 40)
    assert np.allclose(found, np.linalg.solve(matrix, wanted), atol=1e-8)
    assert not conjugate_gradients(lambda v: matrix @ v, np.zeros(12), lambda v: v, 3).any()


def _block() -> tuple[Block, PairSamples, np.ndarray, np.ndarray]:
    """Two linear layers with nothing between: what is asked for can be reached exactly."""
    model = build("(float[300,6] x) => (y) { a = MatMul(x, wa) y = MatMul(a, wy) }", wa=(6, 5), wy=(5, 9))
    first, second = layers_of(model)
    x, w, b = RNG.normal(size=(300, 6)), RNG.normal(size=(5, 6)), RNG.normal(size=(5, 9))
    z = (x @ w.T).astype(np.float32)
    wanted = (z @ b + RNG.normal(size=(300, 9))).astype(np.float32)
    block = Block(first, lambda value: value, Product(second, b, z.shape), np.ones(1, np.float32))
    samples = PairSamples(x[None].astype(np.float32), z, z, (z @ b).astype(np.float32), wanted, wanted)
    return block, samples, x, b


def test_without_an_activation_the_step_is_the_least_squares_optimum(monkeypatch) -> None:
    monkeypatch.setattr(module, "DAMPING", 1e-6)
    monkeypatch.setattr(module, "_ITERATIONS", 30)
    block, samples, x, b = _block()
    step = gauss_newton(block, samples, (b @ b.T)[None])
    # vec(dW): the residual is (x kron b^T) vec(dW)
    design = np.einsum("np,oq->nqop", x, b).reshape(300 * 9, -1)
    best, *_ = np.linalg.lstsq(design, block.missed(samples).reshape(-1), rcond=None)
    assert np.allclose(step[0].reshape(-1), best, atol=1e-3)
    assert block.error(samples, step) < block.error(samples)


def test_the_first_iteration_is_already_near_the_optimum() -> None:
    block, samples, _, b = _block()
    gram = (b @ b.T)[None]
    step = gauss_newton(block, samples, gram)
    reached = block.error(samples, step)
    assert reached < block.error(samples)
    # the factors are the exact curvature here, so that nothing is left to gain
    moved = samples.y + block.product.apply(block.change(samples, step))
    rest = replace(samples, y=moved)
    assert block.error(rest, gauss_newton(block, rest, gram)) > 0.999 * reached


def test_what_lies_between_its_bounds_asks_for_nothing() -> None:
    block, samples, _, b = _block()
    free = replace(samples, low=samples.y - 1, high=samples.y + 1)
    assert block.error(free) == 0
    assert not gauss_newton(block, free, (b @ b.T)[None]).any()
