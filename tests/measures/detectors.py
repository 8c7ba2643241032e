"""Small detectors of the layouts that exporters write, with weights of their own."""

from __future__ import annotations

import numpy as np
import onnx

from tests.builders import build, random

CLASSES = 3


def _weights(channels: dict[str, int], seed: str, size: int = 8) -> dict[str, np.ndarray]:
    """Kernels of a layer that sees cells of ``size`` pixels."""
    return {name: random((count, 3, size, size), seed + name) * 4 for name, count in channels.items()}


def yolox(seed: str = "a", batch: str = "N") -> onnx.ModelProto:
    """(N, positions, 4 + 1 + classes): raw boxes, objectness, classes."""
    return build(
        f"""(float[{batch},3,64,64] x) => (y) {{
          r = Conv<strides=[8,8]>(x, wr)
          o = Conv<strides=[8,8]>(x, wo)  so = Sigmoid(o)
          c = Conv<strides=[8,8]>(x, wc)  sc = Sigmoid(c)
          h = Concat<axis=1>(r, so, sc)  f = Reshape(h, s)  y = Transpose<perm=[0,2,1]>(f) }}""",
        s=[0, 5 + CLASSES, -1],
        **_weights({"wr": 4, "wo": 1, "wc": CLASSES}, seed),
    )


def yolov8(seed: str = "a") -> onnx.ModelProto:
    """(N, 4 + classes, positions): boxes in pixels, centres and sizes, no objectness."""
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8)), 0).reshape(1, 2, 64).astype(np.float32) * 8 + 4
    return build(
        """(float[N,3,64,64] x) => (y) {
          r = Conv<strides=[8,8]>(x, wr)  q = Reshape(r, s2)  t = Tanh(q)  xy, wh = Split<axis=1>(t, two)
          c = Add(xy, g)  e = Exp(wh)  b = Concat<axis=1>(c, e)  p = Mul(b, k)
          l = Conv<strides=[8,8]>(x, wc)  m = Reshape(l, s3)  sc = Sigmoid(m)
          y = Concat<axis=1>(p, sc) }""",
        s2=[0, 4, -1],
        s3=[0, CLASSES, -1],
        two=[2, 2],
        g=grid,
        k=8.0,
        **_weights({"wr": 4, "wc": CLASSES}, seed),
    )


def ssd(seed: str = "a") -> onnx.ModelProto:
    """Corners, and probabilities of classes of which the first is nothing."""
    corner = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(1, 64, 2).astype(np.float32) * 8
    bias = np.zeros(CLASSES + 1, np.float32)
    bias[0] = 3
    return build(
        """(float[N,3,64,64] x) => (boxes, scores) {
          r = Conv<strides=[8,8]>(x, wr)  q = Reshape(r, s2)  u = Transpose<perm=[0,2,1]>(q)
          d, e = Split<axis=2>(u, two)  a = Tanh(d)  a1 = Add(a, g)  f = Exp(e)  b1 = Add(a1, f)
          boxes = Concat<axis=2>(a1, b1)
          l = Conv<strides=[8,8]>(x, wc, bias)  m = Reshape(l, s3)  t = Transpose<perm=[0,2,1]>(m)
          scores = Softmax<axis=2>(t) }""",
        s2=[0, 4, -1],
        s3=[0, CLASSES + 1, -1],
        two=[2, 2],
        g=corner,
        bias=bias,
        **_weights({"wr": 4, "wc": CLASSES + 1}, seed),
    )


def anchors(seed: str = "a") -> onnx.ModelProto:
    """Raw offsets with landmarks, and logits of one class, at two sizes of cells."""
    weights = _weights({"wa": 10, "wb": 1}, seed) | _weights({"wc": 10, "wd": 1}, seed, 16)
    rows = "Transpose<perm=[0,2,3,1]>"
    return build(
        f"""(float[N,3,64,64] x) => (boxes8, scores8, boxes16, scores16) {{
          a = Conv<strides=[8,8]>(x, wa)  at = {rows}(a)  boxes8 = Reshape(at, s)
          b = Conv<strides=[8,8]>(x, wb)  bt = {rows}(b)  scores8 = Reshape(bt, u)
          c = Conv<strides=[16,16]>(x, wc)  ct = {rows}(c)  boxes16 = Reshape(ct, s)
          d = Conv<strides=[16,16]>(x, wd)  dt = {rows}(d)  scores16 = Reshape(dt, u) }}""",
        s=[0, -1, 10],
        u=[0, -1, 1],
        **weights,
    )
