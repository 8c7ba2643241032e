"""Models that run at sizes only that constants in them imply: those are found, and run."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa_cli
from spa_cli.calibration.read import read_samples
from spa_cli.errors import ModelError
from spa_cli.graph.view import build as view
from spa_cli.runtime.first_run import first_run
from tests.builders import build

L1 = {"ratio": 0.3, "method": "l1"}
HEADS = {"w0": (6, 3, 3, 3), "w1": (8, 6, 3, 3), "h0": (6, 6, 1, 1), "h1": (6, 8, 1, 1)}


def detector(height: int, width: int, reshaped: bool = False) -> onnx.ModelProto:
    """Two levels of positions, strides 16 and 32, joined; a grid of all positions is added, as exporters fold it."""
    levels = [(height // 16) * (width // 16), (height // 32) * (width // 32)]
    grid = np.arange(sum(levels), dtype=np.float32)[None, :, None].repeat(2, 2)
    shapes = [[1, 6, n] if reshaped else [0, 6, -1] for n in levels]
    return build(
        """(float[N,3,H,W] x) => (float[N,K,2] boxes, float[N,K,4] scores) {
          a = Conv<strides=[16,16], pads=[1,1,1,1]>(x, w0) b = Relu(a)
          c = Conv<strides=[2,2], pads=[1,1,1,1]>(b, w1) d = Relu(c)
          p = Conv(b, h0) q = Conv(d, h1) f = Reshape(p, s0) g = Reshape(q, s1)
          j = Concat<axis=2>(f, g) t = Transpose<perm=[0,2,1]>(j)
          xy, s = Split<axis=2>(t, parts) boxes = Add(xy, grid) scores = Sigmoid(s)
        }""",
        **HEADS,
        parts=[2, 4],
        grid=grid,
        s0=shapes[0],
        s1=shapes[1],
    )


def transformer(size: int, patch: int) -> onnx.ModelProto:
    """Patches, a token for the class, a table of positions."""
    return build(
        f"""(float[N,3,H,W] x) => (float[N,5] y) {{
          a = Conv<strides=[{patch},{patch}]>(x, w0) f = Reshape(a, s) t = Transpose<perm=[0,2,1]>(f)
          q = Concat<axis=1>(first, t) p = Add(q, positions)
          m = MatMul(p, w1) g = Relu(m) o = MatMul(g, w2) k = ReduceMean<keepdims=0>(o, axes) y = MatMul(k, w3)
        }}""",
        w0=(8, 3, patch, patch),
        s=[0, 8, -1],
        first=(1, 1, 8),
        positions=(1, (size // patch) ** 2 + 1, 8),
        w1=(8, 16),
        w2=(16, 8),
        axes=[1],
        w3=(8, 5),
    )


def text(length: int) -> onnx.ModelProto:
    """Every token has its place in a table."""
    return build(
        """(int64[N,T] ids) => (float[N,T,4] y) {
          e = Gather(table, ids) p = Add(e, positions) m = MatMul(p, w1) r = Relu(m) y = MatMul(r, w2)
        }""",
        table=(50, 8),
        positions=(length, 8),
        w1=(8, 16),
        w2=(16, 4),
    )


def flat(size: int, pooled: int, channels: str = "3") -> onnx.ModelProto:
    """A classifier with a layer over all positions."""
    return build(
        f"""(float[N,{channels},H,W] x) => (float[N,5] y) {{
          a = Conv<strides=[2,2], pads=[1,1,1,1]>(x, w0) r = Relu(a) m = MaxPool<kernel_shape=[4,4], strides=[4,4]>(r)
          f = Flatten(m) y = Gemm(f, w1)
        }}""",
        w0=(6, 3, 3, 3),
        w1=(6 * (size // 8) * pooled, 5),
    )


IMPLIED = {
    "grid 320": (detector(320, 320), (1, 3, 320, 320)),
    "grid 416": (detector(416, 416), (1, 3, 416, 416)),
    "grid 640": (detector(640, 640), (1, 3, 640, 640)),
    "grid 352, none of the usual sizes": (detector(352, 352), (1, 3, 352, 352)),
    "grid that is wider than high": (detector(480, 640), (1, 3, 480, 640)),
    "targets of Reshape": (detector(320, 320, reshaped=True), (1, 3, 320, 320)),
    "positions of patches": (transformer(384, 16), (1, 3, 384, 384)),
    "patches of another size": (transformer(518, 14), (1, 3, 518, 518)),
    "positions of tokens": (text(77), (1, 77)),
    "a layer over all positions": (flat(96, 12), (1, 3, 96, 96)),
    "channels that nothing declares": (flat(96, 12, "C"), (1, 3, 96, 96)),
}


@pytest.mark.parametrize("name", IMPLIED)
def test_it_is_analysed_and_runs_at_what_its_constants_imply(name) -> None:
    model, shape = IMPLIED[name]
    analysis = spa_cli.inspect(model)
    assert list(analysis.input_shapes.values()) == [shape]
    feeds, outputs = first_run(analysis.source, analysis.graph, analysis.state.shapes, [analysis.input_shapes], None)
    assert [value.shape for value in feeds.values()] == [shape]
    assert len(outputs) == len(analysis.graph.outputs)


def test_it_is_pruned_there() -> None:
    result = spa_cli.prune(flat(32, 4), **L1)
    assert result.analysis.input_shapes == {"x": (1, 3, 32, 32)}
    assert result.after.params < result.before.params


def test_a_batch_that_a_constant_fixes_is_one() -> None:
    words = "(float[N,5] x) => (float[M,3] y) { h = MatMul(x, wa) r = Reshape(h, s) y = MatMul(r, wb) }"
    model = build(words, wa=(5, 8), wb=(8, 3), s=[1009, 8])
    assert spa_cli.prune(model, **L1).analysis.input_shapes == {"x": (1009, 5)}


def test_what_fits_is_tried_no_further() -> None:
    """A model that runs at any size is analysed at the most usual one, whatever tables it has."""
    words = """(float[N,3,H,W] x) => (float[N,5] y) {
      a = Conv(x, w0) r = Relu(a) p = GlobalAveragePool(r) f = Flatten(p) s = Add(f, b) y = Gemm(s, w1)
    }"""
    model = build(words, w0=(6, 3, 3, 3), b=(1, 6), w1=(6, 5))
    assert spa_cli.inspect(model).input_shapes == {"x": (1, 3, 224, 224)}


def test_the_refusal_names_the_sizes_that_were_tried() -> None:
    """No size fits both: what was implied, and the usual ones."""
    words = """(float[N,3,H,W] x) => (float[N,5] y, float[N,12,a,b] t, float[N,12,c,d] u) {
      a = Conv<strides=[16,16], pads=[1,1,1,1]>(x, w0) t = Concat<axis=1>(a, grid) u = Concat<axis=1>(a, other)
      r = Conv(x, w1) p = GlobalAveragePool(r) f = Flatten(p) y = Gemm(f, w2)
    }"""
    weights = {"w0": (6, 3, 3, 3), "w1": (6, 3, 1, 1), "w2": (6, 5)}
    sizes = {"grid": (1, 6, 20, 20), "other": (1, 6, 26, 26)}
    model = build(words, **weights, **sizes)
    with pytest.raises(
        ModelError,
        match=r"does not run on synthetic inputs, 'x' of 1x3x320x320, 1x3x224x224, 1x3x416x416, .*"
        r"1x3x512x512, 1x3x640x640, .* and 1x3x1x1 \(Concat node .*\); give input_shape or calib",
    ):
        spa_cli.prune(model, **L1)


def test_pictures_are_brought_to_the_size_that_runs(tmp_path) -> None:
    """Also where all of them have another in common."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for number in range(2):
        image.fromarray(rng.integers(0, 255, (50, 40, 3), np.uint8)).save(tmp_path / f"{number}.png")
    graph = view(flat(96, 12), "")
    assert read_samples(str(tmp_path), graph).shapes == {"x": (3, 96, 96)}
    anywhere = build("(float[N,3,H,W] x) => (float[N,6,H,W] y) { y = Conv(x, w0) }", w0=(6, 3, 1, 1))
    assert read_samples(str(tmp_path), view(anywhere, "")).shapes == {"x": (3, 50, 40)}


def test_a_constant_of_any_size_is_no_size_of_an_input() -> None:
    words = "(float[N,T] x) => (float[N,T] y) { y = Add(x, w) }"
    model = build(words, w=(1, 3))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((1, 1 << 17), np.float32), "w"))
    assert spa_cli.inspect(model).input_shapes["x"][1] < 1 << 17
