"""Names that are no text are refused wherever they stand."""

from __future__ import annotations

import onnx
import pytest

from spa_cli.errors import ModelError
from spa_cli.graph.utf8 import check_text
from tests.builders import build

TEXT = """(float[N,5] inputs) => (float[N,3] output) {
  hidden = MatMul(inputs, weight)
  output = Gemm<alpha=1.0>(hidden, weights)
}"""
MODEL = build(TEXT, domains={"domain": 1}, weight=(5, 8), weights=(8, 3)).SerializeToString()


@pytest.mark.parametrize(
    "name", [b"inputs", b"output", b"hidden", b"weight", b"Gemm", b"alpha", b"domain", b"MatMul_hidden"]
)
def test_name(name) -> None:
    check_text(onnx.ModelProto.FromString(MODEL), "m.onnx")
    assert name in MODEL
    odd = onnx.ModelProto.FromString(MODEL.replace(name, b"\xfe" + name[1:]))
    with pytest.raises(ModelError, match=r"^'m.onnx' holds b'.*\\xfe.* for a name, which is no text in UTF-8; down"):
        check_text(odd, "m.onnx")


def test_metadata_and_what_lies_in_bodies() -> None:
    model = build(
        """(bool c, float[5] x) => (float[5] y) {
          y = If(c)<then_branch = g () => (float[5] inside) { inside = Relu(x) },
                    else_branch = h () => (float[5] outside) { outside = Abs(x) }>
        }"""
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = "key", "value"
    data = model.SerializeToString()
    check_text(model, "m")
    for name in (b"inside", b"Abs", b"key", b"value"):
        with pytest.raises(ModelError, match="is no text in UTF-8"):
            check_text(onnx.ModelProto.FromString(data.replace(name, b"\xff" * len(name))), "m")
