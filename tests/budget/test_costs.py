"""Parameters and multiply-accumulates: against published figures, hand-computed ones, and models really cut."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from spa_cli.analysis import Analysis, analyse_model
from spa_cli.channels.selection import Selection
from spa_cli.graph.shapes import interpret
from spa_cli.graph.source import Source
from spa_cli.graph.view import build
from spa_cli.operators import record_of, shape_rules
from spa_cli.operators.rewrite import cut
from spa_cli.runtime.load import load
from tests import architectures
from tests.samples import SAMPLES, model_path


def _analysis(model: onnx.ModelProto) -> Analysis:
    return analyse_model(Source(model, "model"), {})


@pytest.mark.parametrize(
    ("name", "published_macs", "published_params"),
    [
        ("resnet50", 4.09e9, 25_557_032),
        ("mobilenet_v2", 0.3008e9, 3_504_872),
        ("vit_b16", 17.58e9, 86_567_656),
    ],
)
def test_published_costs(name, published_macs, published_params) -> None:
    analysis = _analysis(getattr(architectures, name)())
    # the running statistics of BatchNorm are floats in the file, but nothing trains them
    statistics = sum(math.prod(analysis.graph.shape(w)) for w in analysis.graph.weights() if ".running_" in w)
    assert analysis.costs.params - statistics == published_params
    assert analysis.costs.macs == pytest.approx(published_macs, rel=0.01)
    assert not analysis.costs.skipped


def test_bert_base_costs_in_its_encoder() -> None:
    analysis = _analysis(architectures.bert_base())
    encoder = [w for w in analysis.graph.weights() if w.startswith("encoder.")]
    assert sum(math.prod(analysis.graph.shape(w)) for w in encoder) == 85_054_464
    layer = 128 * (4 * 768 * 768 + 2 * 768 * 3072) + 2 * 128 * 128 * 768
    assert analysis.costs.macs == 12 * layer


def test_real_architectures_can_lose_channels_everywhere() -> None:
    """Whatever is frozen in a plain network is so for a reason that belongs to it."""
    expected = {
        "resnet50": {"graph input 'image' keeps its shape", "graph output 'logits' keeps its shape"},
        "vit_b16": {"graph input 'image' keeps its shape", "graph output 'logits' keeps its shape"},
    }
    for name, ends in expected.items():
        found = _analysis(getattr(architectures, name)()).grouping.frozen
        reasons = {f.reason.text for f in found} - {"is the window of a convolution", "has a single channel"}
        assert reasons == ends


# -- operators, by hand -----------------------------------------------------------------------------------------------

F = TensorProto.FLOAT


def _macs(
    op: str, inputs: list[tuple[int, ...] | None], outputs: int = 1, domain: str = "", **attributes: object
) -> int:
    """MACs of one operator whose inputs have these shapes (``None``: absent)."""
    names = [f"x{i}" if s is not None else "" for i, s in enumerate(inputs)]
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(n, F, s) for n, s in zip(names, inputs, strict=True) if s is not None],
        [helper.make_tensor_value_info("y0", F, None)],
    )
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    view = build(helper.make_model(graph, opset_imports=opsets), "")
    given = {n: s for n, s in zip(names, inputs, strict=True) if s is not None}
    shapes = interpret(view, given, rules=shape_rules()).shape
    return record_of(view.nodes[0]).macs(view.nodes[0], lambda name: tuple(int(d or 0) for d in shapes[name]))


@pytest.mark.parametrize(
    ("what", "found", "by_hand"),
    [
        ("dense", _macs("Conv", [(1, 3, 8, 8), (5, 3, 3, 3)], pads=[1] * 4), 8 * 8 * 5 * 3 * 9),
        ("strided", _macs("Conv", [(1, 3, 8, 8), (5, 3, 3, 3)], strides=[2, 2], pads=[1] * 4), 4 * 4 * 5 * 27),
        ("grouped", _macs("Conv", [(1, 8, 6, 6), (12, 2, 1, 1)], group=4), 6 * 6 * 12 * 2),
        ("depthwise", _macs("Conv", [(2, 8, 6, 6), (8, 1, 3, 3)], group=8), 2 * 4 * 4 * 8 * 9),
        ("dilated", _macs("Conv", [(1, 2, 9), (3, 2, 3)], dilations=[2]), 5 * 3 * 2 * 3),
        ("bias is free", _macs("Conv", [(1, 2, 9), (3, 2, 3), (3,)]), 7 * 3 * 2 * 3),
    ],
)
def test_conv(what, found, by_hand) -> None:
    assert found == by_hand, what


def test_conv_transpose_counts_per_input_position() -> None:
    assert _macs("ConvTranspose", [(1, 4, 5, 5), (4, 6, 2, 2)], strides=[2, 2]) == 5 * 5 * 4 * 6 * 4
    assert _macs("ConvTranspose", [(1, 4, 5, 5), (4, 3, 2, 2)], group=2) == 5 * 5 * 4 * 3 * 4


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_gemm(trans_a, trans_b) -> None:
    a, b = ((7, 2) if trans_a else (2, 7)), ((5, 7) if trans_b else (7, 5))
    assert _macs("Gemm", [a, b, (5,)], transA=trans_a, transB=trans_b) == 2 * 7 * 5


def test_matmul() -> None:
    assert _macs("MatMul", [(2, 7), (7, 5)]) == 70
    assert _macs("MatMul", [(3, 4, 2, 7), (3, 4, 7, 5)]) == 12 * 70
    assert _macs("MatMul", [(3, 4, 2, 7), (7, 5)]) == 12 * 70, "a weight shared over the batch"
    assert _macs("MatMul", [(2, 7), (6, 7, 5)]) == 6 * 70, "broadcast from the right"
    assert _macs("MatMul", [(7,), (7, 5)]) == 35


def test_matmul_with_vector_on_the_right() -> None:
    assert _macs("MatMul", [(4, 7), (7,)]) == 28


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent(op, gates) -> None:
    length, batch, features, hidden = 9, 2, 5, 3
    for directions in (1, 2):
        shapes: list[tuple[int, ...] | None] = [
            (length, batch, features),
            (directions, gates * hidden, features),
            (directions, gates * hidden, hidden),
        ]
        direction = "bidirectional" if directions == 2 else "forward"
        by_hand = length * batch * directions * gates * hidden * (features + hidden)
        assert _macs(op, shapes, hidden_size=hidden, direction=direction) == by_hand


def test_einsum() -> None:
    assert _macs("Einsum", [(2, 3, 4), (2, 4, 5)], equation="bij,bjk->bik") == 2 * 3 * 4 * 5
    assert _macs("Einsum", [(3, 4), (4,)], equation="ij,j->i") == 12
    assert _macs("Einsum", [(2, 6, 3, 4), (2, 6, 5, 4)], equation="...qd,...kd->...qk") == 2 * 6 * 3 * 5 * 4


def test_attention_of_the_standard() -> None:
    q, k, v = (2, 4, 6, 8), (2, 4, 10, 8), (2, 4, 10, 3)
    scores_and_sum = 2 * 4 * 6 * 10 * (8 + 3)
    assert _macs("Attention", [q, k, v], scale=1.0) == scores_and_sum
    flat = [(2, 6, 32), (2, 10, 32), (2, 10, 12)]
    assert _macs("Attention", flat, q_num_heads=4, kv_num_heads=4, scale=1.0) == scores_and_sum


def test_attention_with_grouped_queries_counts_query_heads() -> None:
    q, k, v = (1, 8, 6, 4), (1, 2, 6, 4), (1, 2, 6, 4)
    assert _macs("Attention", [q, k, v], scale=1.0) == 2 * 8 * 6 * 6 * 4


def test_uncounted_operators_are_free() -> None:
    assert _macs("Relu", [(2, 3)]) == 0
    assert _macs("Add", [(2, 3), (2, 3)]) == 0


# -- after a cut ------------------------------------------------------------------------------------------------------


def _cut(analysis: Analysis, selection: Selection) -> Analysis:
    work = cut(analysis.graph, analysis.state, analysis.grouping, selection, {})
    return analyse_model(load(work.model), analysis.input_shapes)


@pytest.mark.parametrize("name", SAMPLES)
def test_after_says_what_the_cut_model_costs(name) -> None:
    analysis = analyse_model(load(model_path(name)), {})
    selection = Selection(analysis.grouping)
    rng = np.random.default_rng(0)
    for index, group in enumerate(analysis.grouping.groups):
        gone = group.channels // 3
        shape = (len(group.blocks), group.channels) if len(group.blocks) else (group.channels,)
        mask = np.argsort(rng.random(shape), axis=-1) >= gone
        selection.keep(index, mask)
    predicted = analysis.costs.after(selection)
    small = _cut(analysis, selection)
    assert predicted == (small.costs.params, small.costs.macs)
    assert predicted[0] < analysis.costs.params
    assert predicted[1] < analysis.costs.macs


@pytest.mark.parametrize("name", SAMPLES)
def test_per_channel_is_what_one_channel_less_saves(name) -> None:
    analysis = analyse_model(load(model_path(name)), {})
    for index, group in enumerate(analysis.grouping.groups[:4]):
        selection = Selection(analysis.grouping)
        mask = np.ones((len(group.blocks), group.channels) if len(group.blocks) else group.channels, bool)
        mask[..., 0] = False
        selection.keep(index, mask)
        small = _cut(analysis, selection)
        saved = analysis.costs.params - small.costs.params, analysis.costs.macs - small.costs.macs
        assert analysis.costs.per_channel(index, group) == saved


@pytest.mark.parametrize("name", ["digits_resnet", "digits_mobilenet", "digits_vit"])
def test_blocks_that_go_whole_cost_nothing(name) -> None:
    """Nor does what is dead without them; of the smaller model the constants they left behind are no weights."""
    analysis = analyse_model(load(model_path(name)), {})
    assert analysis.blocks
    whole = [[i] for i in analysis.blocks] + [list(analysis.blocks)]
    for indices in whole:
        selection = Selection(analysis.grouping).copy_emptied(indices)
        work = analysis.cut(selection)
        small = analyse_model(load(work.model), analysis.input_shapes)
        held = sum(math.prod(small.graph.shape(name)) for name in work.held.values())
        params, macs = analysis.costs.after(selection)
        assert (params, macs) == (small.costs.params - held, small.costs.macs)
        assert sum(analysis.costs.by_node(selection).values()) == macs
        assert analysis.costs.bytes_after(selection) == 4 * params


def test_what_no_model_is_left_without_costs_what_its_widths_do() -> None:
    analysis = analyse_model(load(model_path("digits_mlp")), {})
    params, macs = analysis.costs.after(Selection(analysis.grouping).copy_emptied([0]))
    assert 0 < macs < analysis.costs.macs
    assert 0 < params < analysis.costs.params


def test_nothing_selected_costs_the_same() -> None:
    analysis = _analysis(architectures.resnet50())
    selection = Selection(analysis.grouping)
    assert analysis.costs.after(selection) == (analysis.costs.params, analysis.costs.macs)


def test_operators_with_unknown_shapes_are_named_not_counted() -> None:
    weight = numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Cast", ["i"], ["f"], to=F),
         helper.make_node("Transpose", ["f"], ["t"]), helper.make_node("MatMul", ["t", "p"], ["y"], name="data_sized"),
         helper.make_node("Gemm", ["x", "w"], ["z"], name="fixed")],
        "nonzero",
        [helper.make_tensor_value_info("x", F, [2, 4])],
        [helper.make_tensor_value_info("y", F, [None, 3]), helper.make_tensor_value_info("z", F, [2, 3])],
        [weight, numpy_helper.from_array(np.ones((2, 3), np.float32), "p")],
    )  # fmt: skip
    costs = _analysis(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)).costs
    assert [n.label for n in costs.skipped] == ["data_sized"]
    assert costs.macs == 2 * 4 * 3


def test_multi_head_attention_of_onnxruntime() -> None:
    ms = "com.microsoft"
    separate = _macs("MultiHeadAttention", [(2, 6, 32), (2, 10, 32), (2, 10, 32)], domain=ms, num_heads=4)
    assert separate == 2 * (2 * 6 * 10 * 32)


def test_lstm_that_onnxruntime_quantised(tmp_path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(model_path("digits_lstm"), tmp_path / "small.onnx")
    assert "DynamicQuantizeLSTM" in {n.op_type for n in onnx.load(tmp_path / "small.onnx").graph.node}
    original = _analysis(onnx.load(model_path("digits_lstm"))).costs
    assert _analysis(onnx.load(tmp_path / "small.onnx")).costs.macs == original.macs


def test_matmul_of_onnxruntime() -> None:
    shapes = {"a": (3, 7, 2), "b": (3, 5, 7), "y": (3, 2, 5)}
    proto = helper.make_node("FusedMatMul", ["a", "b"], ["y"], domain="com.microsoft", transA=1, transB=1)
    graph = helper.make_graph([proto], "one", [], [])
    opsets = [helper.make_opsetid("com.microsoft", 1)]
    node = build(helper.make_model(graph, opset_imports=opsets), "").nodes[0]
    assert record_of(node).macs(node, shapes.__getitem__) == 3 * 70


def test_multi_head_attention_with_packed_qkv() -> None:
    shapes = {"qkv": (2, 10, 4, 3, 8), "y": (2, 10, 32)}
    proto = helper.make_node("MultiHeadAttention", ["qkv"], ["y"], domain="com.microsoft", num_heads=4)
    graph = helper.make_graph([proto], "one", [], [])
    opsets = [helper.make_opsetid("com.microsoft", 1)]
    node = build(helper.make_model(graph, opset_imports=opsets), "").nodes[0]
    assert record_of(node).macs(node, shapes.__getitem__) == 2 * (2 * 4 * 10 * 10 * 8)
