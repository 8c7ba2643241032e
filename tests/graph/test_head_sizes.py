"""A cache whose head is of any size, by its declaration: what reads it says which."""

from __future__ import annotations

import onnx
import onnx.parser
import pytest

import spa_cli
from spa_cli.graph.view import build as view
from spa_cli.runtime.caches import pasts
from spa_cli.runtime.inputs import input_dims
from tests.builders import build
from tests.decoders import decoder

KEY, VALUE = "past_key_values.0.key", "past_key_values.0.value"


def freed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with caches as the builder of onnxruntime-genai 0.18 declares them."""
    for info in (*model.graph.input, *model.graph.output):
        if "key" in info.name or "value" in info.name:
            info.type.tensor_type.shape.dim[3].dim_param = "kv_cache_dim"
    return model


@pytest.mark.parametrize(("kind", "size"), [("optimum", 4), ("genai", 16), ("lengths", 16)])
def test_what_reads_a_cache_says_how_wide_a_head_is(kind, size) -> None:
    plain, free = decoder(kind), freed(decoder(kind))
    found = view(free, "")
    for name in (KEY, VALUE):
        assert input_dims(found.inputs[name]) == ["batch_size", 2, "past_sequence_length", size]
    assert pasts(found) == pasts(view(plain, "")) == {KEY: 2, VALUE: 2}
    # the file keeps its declaration
    assert input_dims(next(i for i in free.graph.input if i.name == KEY))[3] == "kv_cache_dim"


@pytest.mark.parametrize("kind", ["optimum", "genai"])
def test_such_a_decoder_is_pruned_as_if_it_said_so(kind) -> None:
    one, other = (spa_cli.prune(model, ratio=0.3, round_to=1) for model in (decoder(kind), freed(decoder(kind))))
    assert one.plan.kept == other.plan.kept
    assert [list(t.dims) for t in one.model.graph.initializer] == [list(t.dims) for t in other.model.graph.initializer]


ATTENTION = {
    # queries, keys and values in one product of 4 + 2 * 2 heads
    "GroupQueryAttention<num_heads=4, kv_num_heads=2>(p, , , K, V, last, total)": (64, 8),
    "MultiHeadAttention<num_heads=4>(p, p, p, , , , K, V)": (64, 16),
}


def test_heads_on_an_axis_of_their_own() -> None:
    text = """(float[B,S,4,3,16] qkv, float[B,4,P,d] K, float[B,4,P,d] V) => (y, PK, PV) {
      y, PK, PV = com.microsoft.MultiHeadAttention<num_heads=4>(qkv, , , , , , K, V)
    }"""
    found = view(build(text, domains={"com.microsoft": 1}), "")
    assert input_dims(found.inputs["K"]) == input_dims(found.inputs["V"]) == ["B", 4, "P", 16]


@pytest.mark.parametrize(
    "text",
    [
        "b = MatMul(a)  c = Reshape(b)  y = Concat<axis=2>(K, c)",
        'c = Transpose<perm=[0,1,5,9]>(a)  y = Concat<axis="2">(K, c)',
        "y = com.microsoft.GroupQueryAttention(a, , , K)",
        "c = Identity()  y = Concat<axis=2>(K, c)",
    ],
)
def test_what_is_damaged_fixes_nothing(text) -> None:
    header = '<ir_version: 8, opset_import: ["" : 18, "com.microsoft" : 1]>'
    model = onnx.parser.parse_model(f"{header} graph (float[N,3] a, float[B,2,P,d] K) => (y) {{ {text} }}")
    assert input_dims(view(model, "").inputs["K"]) == ["B", 2, "P", "d"]


@pytest.mark.parametrize("node", ATTENTION)
def test_of_packed_and_of_plain_attention(node) -> None:
    wide, size = ATTENTION[node]
    text = f"""(float[B,S,8] x, int32[B] last, int32 total, float[B,2,P,d] K, float[B,2,P,d] V) => (y, PK, PV) {{
      a = MatMul(x, w)  p = Add(a, b)  y, PK, PV = com.microsoft.{node}
    }}"""
    found = view(build(text, domains={"com.microsoft": 1}, w=(8, wide), b=(wide,)), "")
    assert input_dims(found.inputs["K"]) == input_dims(found.inputs["V"]) == ["B", 2, "P", size]


def test_what_nothing_says_stays_free() -> None:
    text = """(float[N,3,H,W] image, float[B,2,P,d] K, float[N,2,H2,W2] other) => (y, z, u) {
      y = Relu(image)  z = Relu(K)  c = Concat<axis=1>(other, lines)  u = Concat<axis=1>(c, c)
    }"""
    found = view(build(text, lines=(1, 1, 6, 5)), "")
    assert input_dims(found.inputs["image"]) == ["N", 3, "H", "W"]
    assert input_dims(found.inputs["K"]) == ["B", 2, "P", "d"]
    # lines of coordinates are as long as the image is wide
    assert input_dims(found.inputs["other"]) == ["N", 2, 6, 5]
