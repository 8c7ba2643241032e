from dataclasses import replace

import numpy as np
import pytest
from onnx import numpy_helper

from spa_cli.obspa import gauss_newton as module
from spa_cli.obspa.gauss_newton import Block, PairSamples, conjugate_gradients, gauss_newton
from spa_cli.obspa.region import Region
from spa_cli.runtime.interpreter import Interpreter
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
    model = build("(float[N,6] x) => (y) { a = MatMul(x, wa) y = MatMul(a, wy) }", wa=(6, 5), wy=(5, 9))
    first, _ = layers_of(model)
    x, w, b = RNG.normal(size=(300, 6)), RNG.normal(size=(5, 6)), numpy_helper.to_array(model.graph.initializer[1])
    z = (x @ w.T).astype(np.float32)
    wanted = (z @ b + RNG.normal(size=(300, 9))).astype(np.float32)
    region = Region(Interpreter(model, "", [{"x": x}]), [model.graph.node[1]], "a", "y", {"a": z})
    samples = PairSamples(x[None].astype(np.float32), {"a": z}, z @ b, wanted, wanted)
    return Block(first, region), samples, x, b


def _step(block, *parts) -> np.ndarray:
    return gauss_newton(block, parts, np.random.default_rng(0))


def test_without_an_activation_the_step_is_the_least_squares_optimum(monkeypatch) -> None:
    monkeypatch.setattr(module, "DAMPING", 1e-6)
    monkeypatch.setattr(module, "_ITERATIONS", 30)
    block, samples, x, b = _block()
    step = _step(block, samples)
    # vec(dW): the residual is (x kron b^T) vec(dW)
    design = np.einsum("np,oq->nqop", x, b).reshape(300 * 9, -1)
    best, *_ = np.linalg.lstsq(design, block.missed(samples).reshape(-1), rcond=None)
    assert np.allclose(step[0].reshape(-1), best, atol=1e-3)
    assert block.error([samples], step) < block.error([samples])


def test_samples_in_several_parts_are_those_in_one() -> None:
    block, samples, *_ = _block()
    halves = [
        PairSamples(
            samples.rows[:, at], {"a": samples.given["a"][at]}, samples.y[at], samples.low[at], samples.high[at]
        )
        for at in (slice(150), slice(150, None))
    ]
    assert block.error(halves) == pytest.approx(block.error([samples]), rel=1e-6)
    assert np.allclose(_step(block, *halves), _step(block, samples), atol=1e-4)


def test_three_iterations_are_near_the_optimum() -> None:
    block, samples, *_ = _block()
    step = _step(block, samples)
    reached = block.error([samples], step)
    assert reached < block.error([samples])
    # the factors are nearly the exact curvature here, so that next to nothing is left to gain
    moved = block.region.moved(samples.given, block.change(samples, step))
    rest = replace(samples, given={"a": samples.given["a"] + block.change(samples, step)}, y=moved)
    assert block.error([rest], _step(block, rest)) > 0.999 * reached


def test_what_lies_between_its_bounds_asks_for_nothing() -> None:
    block, samples, *_ = _block()
    free = replace(samples, low=samples.y - 1, high=samples.y + 1)
    assert block.error([free]) == 0
    assert not _step(block, free).any()
