"""What is left of a block that went whole: the ranking's loss of it, and the constant that stands in for it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import Calibration
from spa_cli.channels.selection import Selection
from spa_cli.obspa.curvature import Curvature
from spa_cli.obspa.shrinkage import shrunk
from spa_cli.surgery.cut import Cut
from tests.builders import analysed, build
from tests.equivalence import run

# the skip is an activation, so the block's layer is all that could take the constant up
IDENTITY = """(float[N,3,6,6] x) => (y) {
  s0 = Conv(x, ws, bs)
  s = Relu(s0)
  a = Conv<pads=[1,1,1,1]>(s, w1, b1)
  r = Relu(a)
  b = Conv<pads=[1,1,1,1]>(r, w2, b2)
  j = Add(s, b)
  y = Conv(j, wy)
}"""
WEIGHTS = {
    "ws": (6, 3, 1, 1),
    "bs": (6,),
    "w1": (8, 6, 3, 3),
    "b1": (8,),
    "w2": (6, 8, 3, 3),
    "b2": (6,),
    "wy": (4, 6, 1, 1),
}
# a projection stands beside the block
PROJECTED = IDENTITY.replace("j = Add(s, b)", "p = Conv(s, wp, bp)\n j = Add(p, b)")
GATE = IDENTITY.replace("j = Add(s, b)", "g = Sigmoid(b)\n j = Mul(s, g)")


def samples(count: int = 64, size: int = 6) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).standard_normal((count, 3, size, size)).astype(np.float32)}


def curvature(analysis: Analysis) -> Curvature:
    return Curvature(analysis, Calibration([samples()], "samples"), 0)


def emptied(analysis: Analysis) -> Cut:
    (block,) = analysis.blocks.values()
    return analysis.cut(Selection(analysis.grouping).copy_emptied(block.groups))


def tensors(model: onnx.ModelProto, *names: str) -> list[np.ndarray]:
    """What the model gives for tensors inside it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in names)
    return run(copy, samples())[1:]


def value(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name)


def test_all_that_is_lost_is_the_variance_of_the_branch() -> None:
    """The losses of all channels add up to what the best constant leaves, relative to what it is added into."""
    model = build(IDENTITY, **WEIGHTS)
    analysis = analysed(model)
    own = curvature(analysis)
    own.sensitivity.metric.clear()
    (block,) = analysis.blocks.values()
    b, j = (t.transpose(1, 0, 2, 3).reshape(6, -1).astype(np.float64) for t in tensors(model, "b", "j"))
    lost = own.rankings[block.index].loss
    assert len(lost) == 8
    assert (np.diff(lost) >= 0).all()
    ((reader,),) = own.consumers[block.index]
    covariance = shrunk(reader.h, reader.rows)
    assert lost.sum() == pytest.approx(reader.weight * np.trace(reader.w @ covariance @ reader.w.T), rel=1e-3)
    # wide tensors count more, by the root of their width; what few samples say of the covariance is shrunk
    assert lost.sum() == pytest.approx(np.sqrt(6) * b.var(1).sum() / j.var(1).sum(), rel=0.2)


def test_the_constant_is_the_mean_of_what_the_block_gave() -> None:
    model = build(IDENTITY, **WEIGHTS)
    analysis = analysed(model)
    work = emptied(analysis)
    held = work.held["j"]
    assert np.array_equal(value(work.model, held).reshape(-1), analysis.graph.array("b2"))
    curvature(analysis).repair(work)
    (b,) = tensors(model, "b")
    assert np.allclose(value(work.model, held).reshape(-1), b.mean((0, 2, 3)), atol=1e-4)
    # what came before had nothing to make good
    assert np.array_equal(value(work.model, "ws"), analysis.graph.array("ws"))


def test_a_factor_is_a_regression_through_zero() -> None:
    model = build(GATE, **WEIGHTS)
    analysis = analysed(model)
    work = emptied(analysis)
    curvature(analysis).repair(work)
    s, j = tensors(model, "s", "j")
    best = (s * j).sum((0, 2, 3)) / np.square(s).sum((0, 2, 3))
    assert np.allclose(value(work.model, work.held["j"]).reshape(-1), best, rtol=1e-3)


def test_a_projection_takes_the_block_up() -> None:
    """The refit of the layer beside it is asked for the whole sum: less is lost than the block's variance."""
    model = build(PROJECTED, **WEIGHTS, wp=(6, 6, 1, 1), bp=(6,))
    analysis = analysed(model)
    work = emptied(analysis)
    curvature(analysis).repair(work)
    (wanted, b), (got,) = tensors(model, "j", "b"), tensors(work.model, "j")
    left = np.square(wanted - got).mean() / b.var((0, 2, 3)).mean()
    assert left < 0.95
    assert not np.array_equal(value(work.model, "wp"), analysis.graph.array("wp"))


def test_channels_of_the_stream_may_go_too() -> None:
    analysis = analysed(build(IDENTITY, **WEIGHTS))
    (block,) = analysis.blocks.values()
    selection = Selection(analysis.grouping)
    for index, group in enumerate(analysis.grouping.groups):
        if index not in block.groups:
            selection.keep(index, np.arange(group.channels) > 1)
    work = analysis.cut(selection.copy_emptied(block.groups))
    assert not curvature(analysis).repair(work).dropped
    assert value(work.model, work.held["j"]).shape == (1, 4, 1, 1)
