"""A small network and a narrower one that is to give the same."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from spa_cli.analysis import Analysis, analyse_model
from spa_cli.graph.source import Source
from spa_cli.runtime.load import load
from tests.builders import build

TEXT = """(float[N,3,6,6] x) => (logits) {
  a = Conv<pads=[1,1,1,1]>(x, w1, b1)
  r = Relu(a)
  p = GlobalAveragePool(r)
  f = Flatten(p)
  logits = Gemm<transB=1>(f, w2, b2)
}"""


def net(width: int = 8, seed: int = 0) -> onnx.ModelProto:
    """Scores of four classes."""
    rng = np.random.default_rng(seed)

    def noise(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    return build(TEXT, w1=noise(width, 3, 3, 3), b1=noise(width), w2=noise(4, width), b2=noise(4))


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same in half precision, but for its input and scores."""
    text = TEXT.replace("Conv<pads=[1,1,1,1]>(x,", "Conv<pads=[1,1,1,1]>(h,").replace("logits = Gemm", "s = Gemm")
    text = text.replace("{\n", "{\n  h = Cast<to=10>(x)\n").replace("\n}", "\n  logits = Cast<to=1>(s)\n}")
    weights = {t.name: numpy_helper.to_array(t).astype(np.float16) for t in model.graph.initializer}
    return build(text, **weights)


def images(count: int = 48, seed: int = 1) -> np.ndarray:
    """Samples for it."""
    return np.random.default_rng(seed).normal(size=(count, 3, 6, 6)).astype(np.float32)


def analysed(model: onnx.ModelProto, batch: int = 4) -> tuple[Source, Analysis]:
    """Read, and analysed at a batch of this size."""
    source = load(model)
    return source, analyse_model(source, {"x": (batch, 3, 6, 6)})
