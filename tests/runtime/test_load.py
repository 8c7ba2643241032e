"""Loading files: what is known of one, what is inlined, sorted, left where it is."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

import spa_cli
from spa_cli.errors import ModelError
from spa_cli.runtime.load import load
from tests.graph.files import dense, save_external


def test_digest_is_of_the_nodes_not_of_the_weights() -> None:
    model, retrained, other = dense(), dense(), dense()
    retrained.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((8, 32), np.float32), "w1"))
    other.graph.node[1].op_type = "Tanh"
    digest = load(model).digest()
    assert load(retrained).digest() == digest
    assert load(other).digest() != digest


_FUNCTION = """
<ir_version: 9, opset_import: ["" : 17, "local" : 1]>
main (float[n, 8] x) => (float[n, 4] y) { h = local.dense (x, w1)
 y = MatMul (h, w2) }
<domain: "local", opset_import: ["" : 17]>
dense (x, w) => (h) { m = MatMul (x, w)
 h = Relu (m) }
"""


def test_local_functions_are_inlined_with_a_warning(tmp_path) -> None:
    model = onnx.parser.parse_model(_FUNCTION)
    weights = {t.name: t for t in dense().graph.initializer}
    model.graph.initializer.extend([weights["w1"], weights["w2"]])
    onnx.save(model, tmp_path / "m.onnx")
    result = spa_cli.prune(tmp_path / "m.onnx", tmp_path / "small.onnx", ratio=0.5, method="l1")
    assert [w for w in result.warnings if "local functions were inlined" in w]
    small = onnx.load(tmp_path / "small.onnx")
    assert not small.functions
    assert {t.name: list(t.dims) for t in small.graph.initializer} == {"w1": [8, 16], "w2": [16, 4]}


def test_external_data_needs_a_path(tmp_path) -> None:
    path = save_external(dense(), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="given from memory"):
        load(onnx.load(path, load_external_data=False))


def test_weights_in_external_files_are_not_read_by_loading(tmp_path) -> None:
    source = load(save_external(dense(256), tmp_path / "m.onnx"))
    assert source.external
    assert source.bytes == sum(p.stat().st_size for p in tmp_path.iterdir())
    assert all(not t.raw_data for t in source.model.graph.initializer)
    assert source.graph.array("w1").shape == (8, 256)


def test_nodes_out_of_order_are_sorted_for_the_analysis_only() -> None:
    """onnxruntime runs such files; the checker rejects them."""
    model = dense()
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    source = load(model)
    assert any("onnxruntime runs it" in w for w in source.warnings)
    assert [n.op for n in source.graph.nodes] == ["Gemm", "Relu", "MatMul"]
    small = spa_cli.prune(model, ratio=0.5, method="l1").model
    assert [n.op_type for n in small.graph.node] == ["MatMul", "Relu", "Gemm"]


def test_obspa_on_nodes_out_of_order() -> None:
    model = dense()
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    assert spa_cli.prune(model, ratio=0.5, method="obspa").after.params < 8 * 32
