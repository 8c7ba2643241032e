"""Where weights are used, by what exporters leave of it."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from spa_cli.channels.places import Places, common, components, of_weight, written
from spa_cli.graph.view import build


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("layers.0.self.attn", "layers.0/self/attn"),
        ("/layers/layers.0/self/attn", "layers.0/self/attn"),
        ("/base/base.1/base.1.0", "base.1.0"),
        ("0.0", "0.0"),
        ("model/dense_2/Tensordot", "model/dense_2/Tensordot"),
        ("", ""),
    ],
)
def test_paths_of_modules(name, place) -> None:
    assert written(components(name)) == place


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("m.layer.0.attention.query.weight", "m/layer.0/attention/query"),
        ("stem.0.weight_quantized", "stem.0"),
        ("lstm.weight_ih_l0", "lstm"),
        ("model/dense_2/Tensordot/ReadVariableOp:0", "model/dense_2"),
        ("net/stem_1/convolution/merged_input:0", "net/stem_1"),
        ("conv_pw_9/Conv2D_weights_fused_bn", "conv_pw_9"),
        ("conv2d_5/kernel:0", "conv2d_5"),
        ("conv2d_142.w_0", "conv2d_142"),
        ("/r/Constant_output_0", "r"),
        ("coefficient", "coefficient"),
        ("weight", "weight"),
        *[(numbered, "") for numbered in ("1421", "onnx::MatMul_834", "val_12", "const_3", "const_fold_opt__391", "")],
    ],
)
def test_weights_are_named_after_layers_or_numbered(name, place) -> None:
    assert written(of_weight(name)) == place


def _place(weight: str, node: str = "", scopes: str = "", bias: str = "", cast: bool = False) -> str:
    made = [helper.make_node("Identity", [weight], ["kept"], name="Identity_60")] if cast else []
    product = helper.make_node("MatMul", ["x", "kept" if cast else weight], ["h"], name=node)
    if scopes:
        product.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    weights = {weight: np.zeros((4, 4), np.float32)}
    if bias:
        weights[bias] = np.zeros(4, np.float32)
        made += [product, helper.make_node("Add", ["h", bias], ["y"])]
    else:
        made += [product, helper.make_node("Relu", ["h"], ["y"])]
    x, y = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", 4]) for n in "xy")
    graph = helper.make_graph(made, "g", [x], [y], [numpy_helper.from_array(v, n) for n, v in weights.items()])
    return written(Places(build(helper.make_model(graph), "")).of(weight))


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"weight": "fc.weight", "node": "/other/MatMul"}, "fc"),
        ({"weight": "onnx::MatMul_9", "node": "/blocks/blocks.0/fc1/MatMul"}, "blocks.0/fc1"),
        ({"weight": "onnx::MatMul_9", "node": "/fc1/MatMul", "cast": True}, "fc1"),
        ({"weight": "val_9", "node": "node_linear_3", "scopes": "['', 'm', 'm.layers.0', 'linear']"}, "m/layers.0"),
        ({"weight": "val_9", "scopes": "['m.layers', 'linear']", "bias": "m.layers.0.fc.bias"}, "m/layers.0/fc"),
        ({"weight": "val_9", "scopes": "['m.fc', 'linear']", "bias": "m.embedding.weight"}, "m/fc"),
        ({"weight": "val_9", "scopes": "not a list", "node": "MatMul_3"}, ""),
        ({"weight": "val_9", "scopes": "{[]: 1}", "node": "MatMul_3"}, ""),
        ({"weight": "1421", "node": "MatMul__7", "bias": "head.0.bias"}, "head.0"),
        ({"weight": "const_4", "node": "node_MatMul_57"}, ""),
        ({"weight": "const_4", "node": "decoder_out"}, "decoder_out"),
    ],
)
def test_where_each_exporter_leaves_it(given, place) -> None:
    assert _place(**given) == place


def test_what_places_have_in_common() -> None:
    layers = [components(n) for n in ("stem.0", "stage.0.conv", "stage.1.conv", "stage.1.down")]
    assert written(common(layers[1:])) == "stage"
    assert common(layers) == common([]) == common([()]) == ()
    # one of those that are counted is not where most lie
    assert written(common(layers, 0.5)) == "stage"


def test_thousands_of_places_are_compared_in_no_time() -> None:
    places = [components(f"conv{i}.weight") for i in range(20_000)]
    began = time.process_time()
    assert common(places) == ()
    assert time.process_time() - began < 2
