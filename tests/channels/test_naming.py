"""What groups are called."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.channels.naming import _distinct
from tests.builders import analysed, build
from tests.samples import model_path

TWO_LAYERS = """(float[N,5] x) => (y) {
  a = MatMul(x, WA)
  r = Relu(a)
  y = MatMul(r, WB)
}"""


def _names(text: str, **weights) -> list[str]:
    return [g.name for g in analysed(build(text, **weights)).grouping.groups]


def _layers(first: str, second: str) -> list[str]:
    """Of two matrices with these names."""
    model = build(TWO_LAYERS, WA=(5, 8), WB=(8, 4))
    for node in model.graph.node:
        node.ClearField("name")
    for old, new in (("WA", first), ("WB", second)):
        for tensor in model.graph.initializer:
            tensor.name = new if tensor.name == old else tensor.name
        for node in model.graph.node:
            node.input[:] = [new if n == old else n for n in node.input]
    return [g.name for g in spa_cli.inspect(model).grouping.groups]


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("m.layer.0.fc1.weight", "m.layer.0.fc2.weight", "layer.0/ffn"),
        ("m.layer.0.mlp.fc1.weight", "m.layer.0.mlp.fc2.weight", "layer.0/mlp"),
        ("net/dense/MatMul/ReadVariableOp:0", "net/dense_1/MatMul/ReadVariableOp:0", "dense"),
        ("coefficient", "coefficient1", "coefficient"),
        ("0.weight", "2.weight", "0/MatMul"),
        ("1421", "head.0.weight", "head.0 input"),
        *[(first, "const_2", "dense 1") for first in ("const_1", "kernel2d_0", "1421", "val_3", "onnx::MatMul_9")],
    ],
)
def test_channels_between_two_layers(first, second, name) -> None:
    assert _layers(first, second) == [name]


def test_what_blocks_add_to_is_a_residual() -> None:
    names = _names(
        """(float[N,3,5,5] x) => (y) {
          s = Conv(x, stem)
          a = Conv(s, first)
          b = Conv(a, second)
          t = Add(s, b)
          y = Conv(t, last)
        }""",
        stem=(6, 3, 1, 1),
        first=(4, 6, 1, 1),
        second=(6, 4, 1, 1),
        last=(2, 6, 1, 1),
    )
    assert sorted(names) == ["first", "residual"]


def test_the_networks_that_come_with_it() -> None:
    vit = [g.name for g in spa_cli.inspect(model_path("digits_vit")).grouping.groups]
    assert {"blocks residual", "blocks.0/attn/heads", "blocks.0/attn/v", "blocks.0/ffn"} <= set(vit)
    resnet = [g.name for g in spa_cli.inspect(model_path("digits_resnet")).grouping.groups]
    assert {"stage1 residual", "stage2 residual", "stage1.0/conv1", "stage3.0/conv1"} <= set(resnet)
    lstm = [g.name for g in spa_cli.inspect(model_path("digits_lstm")).grouping.groups]
    assert sorted(lstm) == ["lstm/LSTM", "lstm/LSTM_1"]
    mobile = [g.name for g in spa_cli.inspect(model_path("digits_mobilenet")).grouping.groups]
    assert "block4_se_reduce_1" in mobile
    for names in (vit, resnet, lstm, mobile):
        assert len(set(names)) == len(names)
        assert not any("onnx::" in name or name.isdigit() for name in names)


def test_layers_that_no_path_tells_are_counted_in_the_order_of_the_file() -> None:
    """As jax2onnx and tf2onnx write them; those count that keep all channels, and nodes with a name have it."""
    model = build(
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, k0, b0)
          b = Conv(a, k1)
          c = ConvTranspose(b, k2)
          p = GlobalAveragePool(c)
          f = Flatten(p)
          d = Gemm(f, m0)
          e = Gemm(d, m1)
          y = Gemm(e, m2)
        }""",
        k0=(4, 3, 1, 1),
        b0=(4,),
        k1=(6, 4, 1, 1),
        k2=(6, 5, 1, 1),
        m0=(5, 7),
        m1=(7, 9),
        m2=(9, 2),
    )
    names = {t.name: f"const_{at}" for at, t in enumerate(model.graph.initializer)}
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    for at, node in enumerate(model.graph.node):
        node.input[:] = [names.get(n, n) for n in node.input]
        node.name = f"node_{node.op_type}_{at}"
    known = {g.tensor: g.name for g in spa_cli.inspect(model).grouping.groups}
    assert known == {
        names["k0"]: "conv 1",
        names["k1"]: "conv 2",
        names["k2"]: "transposed conv 1",
        names["m0"]: "dense 1",
        names["m1"]: "dense 2",
    }
    model.graph.node[1].name = "Conv_17"
    assert {g.tensor: g.name for g in spa_cli.inspect(model).grouping.groups}[names["k1"]] == "Conv_17"
    found = spa_cli.prune(model, ratio=0.1, method="l2", only="dense 2").cut_groups
    assert [group.name for group, _ in found] == ["dense 2"]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("l.0.attn.{}.weight", {"l.0/attn/heads", "l.0/attn/qk", "l.0/attn/v"}),
        ("kernel2d_{}", {"attention 1/heads", "attention 1/qk", "attention 1/v"}),
    ],
)
def test_queries_and_keys_and_values(given, names) -> None:
    """Of an attention of two heads, written out as exporters do."""
    rng = np.random.default_rng(0)
    text = """(float[N,3,8] x) => (y) {
      q0 = MatMul(x, Q)
      k0 = MatMul(x, K)
      v0 = MatMul(x, V)
      q1 = Reshape(q0, shape)
      k1 = Reshape(k0, shape)
      v1 = Reshape(v0, shape)
      q = Transpose<perm=[0,2,1,3]>(q1)
      k = Transpose<perm=[0,2,3,1]>(k1)
      v = Transpose<perm=[0,2,1,3]>(v1)
      s = MatMul(q, k)
      p = Softmax(s)
      o = MatMul(p, v)
      t = Transpose<perm=[0,2,1,3]>(o)
      u = Reshape(t, back)
      y = MatMul(u, O)
    }"""
    shapes = {n: rng.normal(size=(8, 8)).astype(np.float32) for n in "QKVO"}
    model = build(text, **shapes, shape=np.array([0, 0, 2, 4]), back=np.array([0, 0, 8]))
    words = "qkvo" if "attn" in given else "0123"
    called = {old: given.format(new) for old, new in zip("QKVO", words, strict=True)}
    for tensor in model.graph.initializer:
        tensor.name = called.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.ClearField("name")
        node.input[:] = [called.get(n, n) for n in node.input]
    assert {g.name for g in spa_cli.inspect(model).grouping.groups} == names


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ([["a", "x/a"], ["b", "x/b"]], ["a", "b"]),
        ([["a", "x/a"], ["a", "y/a"]], ["x/a", "y/a"]),
        ([["a", "x/a", "w1"], ["a", "x/a", "w2"]], ["w1", "w2"]),
        # where nothing tells them apart the plainest name is counted
        ([["a", "x/a", "w"], ["a", "x/a", "w"]], ["a", "a#2"]),
        ([["a", "w"], ["a", "w"], ["a#2", "v"]], ["a", "a#3", "a#2"]),
        ([["a", "x/a", "w"], ["a", "x/a", "w"], ["a", "y/a", "w"]], ["x/a", "x/a#2", "y/a"]),
    ],
)
def test_no_two_have_one_name(wanted, names) -> None:
    assert _distinct(wanted) == names


def test_no_name_is_tried_twice() -> None:
    # the second name of one is the first again
    wanted = [["d", "b", "z"], ["b"] * 3 + ["z"], ["d"] * 3 + ["z"], [*"bbdbad", "z"], [*"ab", "z"]]
    assert len(set(_distinct(wanted))) == len(wanted)


def test_options_match_what_a_group_is_and_what_it_was_called() -> None:
    vit = model_path("digits_vit")
    (group,) = [g for g in spa_cli.inspect(vit).grouping.groups if g.name == "blocks.1/attn/heads"]
    assert group.tensor == "onnx::MatMul_278/blocks"
    for pattern in (group.name, group.tensor, "blocks.1/*/heads", "*_278/blocks"):
        found = spa_cli.prune(vit, ratio=0.02, method="l2", only=pattern, max_group_ratio=0.9)
        assert [g.name for g, _ in found.cut_groups] == [group.name]


def test_names_are_the_same_after_pruning() -> None:
    vit = model_path("digits_vit")
    small = spa_cli.prune(vit, ratio=0.3, method="l2").model
    before, after = ([g.name for g in spa_cli.inspect(m).grouping.groups] for m in (vit, small))
    assert after == before
    assert isinstance(small, onnx.ModelProto)
