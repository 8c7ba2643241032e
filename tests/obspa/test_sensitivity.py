"""What outputs feel of a layer: against a derivative taken by hand, and on positions that matter."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

import spa_cli
from spa_cli.analysis import analyse_model
from spa_cli.obspa.layers import find_layers
from spa_cli.obspa.positions import Positions
from spa_cli.obspa.sensitivity import Sensitivity, root, sensitivity
from spa_cli.runtime.load import load
from tests.builders import build


def _felt(model: object, chunks: list[dict[str, np.ndarray]]) -> tuple[Sensitivity, list]:
    analysis = analyse_model(load(model), {n: v.shape for n, v in chunks[0].items()})
    layers = find_layers(analysis.graph, analysis.state.shapes)
    return sensitivity(analysis.graph, analysis.state.shapes, layers, chunks, 0), layers


def test_metric_is_the_second_moment_of_gradients_in_a_linear_network() -> None:
    """``z = W2 h``: what is felt of ``h`` is ``W2^T D W2``, here with columns of very different size."""
    rng = np.random.default_rng(0)
    w2 = rng.normal(size=(6, 3)) * np.array([10.0, 1, 1, 1, 1, 0.0])[:, None]
    model = build(
        "(float[N,4,5] x) => (y) { h = MatMul(x, wa)  y = MatMul(h, wb) }", wa=(5, 6), wb=w2.astype(np.float32)
    )
    chunks = [{"x": rng.normal(size=(64, 4, 5)).astype(np.float32)} for _ in range(2)]
    found, _ = _felt(model, chunks)
    (metric,) = found.metric["h"]
    assert not found.missing
    x = np.concatenate([c["x"] for c in chunks])
    y = x @ numpy_helper.to_array(model.graph.initializer[0]) @ w2
    y = y.reshape(-1, 3)
    felt = np.square((y - y.mean(0)) / y.var(0) ** 0.75).sum(0)
    expected = (w2 * felt) @ w2.T
    # one draw of signs a sample: right on average
    assert metric == pytest.approx(expected, abs=0.15 * expected.max())
    assert abs(metric[5]).max() == 0
    again = root(metric)
    assert again.T @ again == pytest.approx(metric, rel=1e-4, abs=1e-4 * metric.max())


def test_positions_that_outputs_feel_are_drawn_more_often() -> None:
    """A rare, strong position among many quiet ones."""
    rng = np.random.default_rng(0)
    x = 0.05 * rng.normal(size=(16, 3, 8, 8)).astype(np.float32)
    where = rng.integers(0, 64, 16)
    x.reshape(16, 3, 64)[np.arange(16), :, where] += 5
    model = build(
        "(float[N,3,8,8] x) => (y) { h = Conv(x, wa)  r = Relu(h)  y = Conv(r, wb) }", wa=(6, 3, 1, 1), wb=(4, 6, 1, 1)
    )
    found, layers = _felt(model, [{"x": x}])
    chances = found.chances["h"][0]
    assert chances.shape == (16, 64)
    assert chances.sum(1) == pytest.approx(np.ones(16), rel=1e-4)
    # what every position has alike is half of the chance
    assert chances.min() >= 0.5 / 64 * 0.999
    assert (chances.argmax(1) == where).all()
    rows = Positions(0, found.chances).of(layers[0], 0, x.shape, 32)
    assert rows is not None and rows.shape == (16, 32)
    hits = (rows == where[:, None]).sum(1)
    assert (abs(hits - 32 * chances.max(1)) <= 1).all() and hits.mean() > 8
    assert np.array_equal(layers[0].inputs_at(x, rows, 1)[0, :32], x[0].reshape(3, 64).T[rows[0]])


def test_positions_are_all_or_evenly_drawn_where_nothing_is_known() -> None:
    model = build("(float[N,3,8,8] x) => (y) { y = Conv(x, wa) }", wa=(6, 3, 1, 1))
    analysis = analyse_model(load(model), {"x": (2, 3, 8, 8)})
    (layer,) = find_layers(analysis.graph, analysis.state.shapes)
    assert Positions(0).of(layer, 0, (2, 3, 8, 8), 64) is None
    drawn = Positions(0).of(layer, 0, (2, 3, 8, 8), 10)
    assert drawn is not None and len({*drawn}) == 10


def test_an_operator_without_adjoint_leaves_layers_without_a_metric() -> None:
    """They are ranked as they are, and the reason is at hand."""
    model = build(
        "(float[N,4,6] x) => (y) { h = MatMul(x, wa)  r = Shrink<lambd=0.1>(h)  y = MatMul(r, wb) }",
        wa=(6, 8),
        wb=(8, 3),
    )
    found, _ = _felt(model, [{"x": np.random.default_rng(0).normal(size=(32, 4, 6)).astype(np.float32)}])
    assert "y" in found.metric and "h" not in found.metric
    assert "Shrink" in found.missing["h"]
    assert spa_cli.prune(model, ratio=0.3, calib_samples=32).after.channels < 8


def test_classes_alone_are_felt_by_what_they_are_made_of() -> None:
    model = build(
        "(float[N,4,6] x) => (y) { h = MatMul(x, wa)  r = Relu(h)  z = MatMul(r, wb)  y = ArgMax<axis=2>(z) }",
        wa=(6, 8),
        wb=(8, 3),
    )
    found, _ = _felt(model, [{"x": np.random.default_rng(0).normal(size=(32, 4, 6)).astype(np.float32)}])
    assert set(found.metric) == {"h", "z"}


def test_one_answer_a_sample_needs_no_metric() -> None:
    model = build("(float[N,6] x) => (y) { h = MatMul(x, wa)  y = MatMul(h, wb) }", wa=(6, 8), wb=(8, 3))
    found, _ = _felt(model, [{"x": np.ones((4, 6), np.float32)}])
    assert found == Sensitivity()


@pytest.mark.parametrize(
    "last",
    [
        "y = Reshape(t, rows)",
        "y = Flatten(t)",
        "r = Reshape(t, rows)  y = Softmax<axis=-1>(r)",
        "some = Slice(t, zero, three, axis)  y = Reshape(some, rows)",
    ],
)
def test_positions_among_samples_or_channels_are_told_apart(last) -> None:
    """As detectors give them that were exported with all boxes in one list, or in one row."""
    text = "(float[N,4,6] x) => (y) {{ h = MatMul(x, wa)  t = MatMul(h, wb)  {} }}"
    weights = {"wa": (6, 8), "wb": (8, 3), "rows": [-1, 3], "zero": [0], "three": [3], "axis": [-1]}
    x = np.random.default_rng(0).normal(size=(32, 4, 6)).astype(np.float32)
    found, plain = (_felt(build(text.format(end), **weights), [{"x": x}])[0] for end in (last, "y = Identity(t)"))
    assert found.metric["h"] == pytest.approx(plain.metric["h"])


@pytest.mark.parametrize(
    "last",
    [
        # one token stands for all
        "f = Slice(t, zero, one, axis)  y = Reshape(f, rows)",
        "f = ReduceMean(t, one)  y = Reshape(f, rows)",
    ],
)
def test_one_answer_out_of_many_positions_is_one(last) -> None:
    text = f"(float[N,4,6] x) => (y) {{ h = MatMul(x, wa)  t = MatMul(h, wb)  {last} }}"
    model = build(text, wa=(6, 8), wb=(8, 3), rows=[-1, 3], zero=[0], one=[1], axis=[1])
    found, _ = _felt(model, [{"x": np.ones((4, 4, 6), np.float32)}])
    assert found == Sensitivity()


def test_certain_answers_are_felt_before_they_are_squeezed() -> None:
    """The slope of a Softmax that is sure is nothing."""
    weights = {"wa": (6, 8), "wb": 50 * np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)}
    text = "(float[N,4,6] x) => (y) {{ h = MatMul(x, wa)  z = MatMul(h, wb)  y = {}(z) }}"
    x = np.random.default_rng(0).normal(size=(32, 4, 6)).astype(np.float32)
    sure, plain = (_felt(build(text.format(op), **weights), [{"x": x}])[0] for op in ("Softmax<axis=-1>", "Identity"))
    assert sure.metric["h"] == pytest.approx(plain.metric["h"])


@pytest.mark.parametrize("rank", [0, 2, 6])
def test_a_root_of_any_rank(rank) -> None:
    x = np.random.default_rng(rank).normal(size=(6, rank))
    metric = x @ x.T
    found = root(metric)
    assert found.T @ found == pytest.approx(metric, abs=1e-4 * max(metric.max(), 1e-30))
