"""Attention: its parts compute what onnxruntime's kernel does, and have the gradients of that."""

import numpy as np
import pytest

from tests.adjoints.differences import adjoint_of, check, half, model_of, noise

MS = {"com.microsoft": 1}
QKV = {"q": (2, 3, 4), "k": (2, 5, 4), "v": (2, 5, 6)}
SELF = {"x": (2, 3, 4), "w": (4, 12), "b": (12,)}
MASK = np.array([[1, 1, 0, 1, 1], [1, 1, 1, 1, 0]], np.int32)
HEADS = {"q": (1, 4, 3, 4), "k": (1, 2, 3, 4), "v": (1, 2, 3, 4)}


def verify(body, shapes, weights=None, outputs="y", opset=17, domains=MS) -> None:
    inputs = {n: half(noise(*s, seed=i)) for i, (n, s) in enumerate(shapes.items())}
    model = model_of(body, inputs, weights or {}, outputs, opset, "float", domains)
    check(model, inputs, list(inputs), step=1e-2, tolerance=3e-3)


SELF_CASES = [
    ("y = com.microsoft.Attention<num_heads=2>(x, w, b)", SELF, {}),
    ("y = com.microsoft.Attention<num_heads=2, unidirectional=1>(x, w, b)", SELF, {}),
    ("y = com.microsoft.Attention<num_heads=2>(x, w, b, m)", SELF, {"m": MASK[:, :3]}),
    ("y = com.microsoft.Attention<num_heads=2, scale=0.3>(x, w, b, , , a)", {**SELF, "a": (2, 2, 3, 3)}, {}),
    (
        "y = com.microsoft.Attention<num_heads=2, qkv_hidden_sizes=[4,4,6]>(x, w, b)",
        {**SELF, "w": (4, 14), "b": (14,)},
        {},
    ),
]


@pytest.mark.parametrize(("body", "shapes", "weights"), SELF_CASES, ids=range(len(SELF_CASES)))
def test_projections_and_attention_in_one(body, shapes, weights) -> None:
    verify(body, shapes, weights)


def test_a_past() -> None:
    body = "y, p = com.microsoft.Attention<num_heads=2, unidirectional=1>(x, w, b, , past)"
    verify(body, {**SELF, "past": (2, 2, 2, 2, 2)}, outputs="y p")


MULTI_CASES = [
    ("(q, k, v)", QKV, {}),
    ("(q, k, v, b)", {**QKV, "b": (14,)}, {}),
    ("(q, k, v, , m)", QKV, {"m": MASK}),
    ("(q, k, v, , , a)", {**QKV, "a": (1, 2, 3, 5)}, {}),
    ("(q, k, v)", {"q": (2, 3, 4), "k": (2, 2, 5, 2), "v": (2, 2, 5, 2)}, {}),
]


@pytest.mark.parametrize(("call", "shapes", "weights"), MULTI_CASES, ids=range(len(MULTI_CASES)))
def test_attention_between_projections(call, shapes, weights) -> None:
    verify(f"y = com.microsoft.MultiHeadAttention<num_heads=2>{call}", shapes, weights)


def test_a_cache_of_keys_and_values() -> None:
    shapes = {**QKV, "v": (2, 5, 4), "pk": (2, 2, 2, 2), "pv": (2, 2, 2, 2)}
    verify("y, a, b = com.microsoft.MultiHeadAttention<num_heads=2>(q, k, v, , , , pk, pv)", shapes, outputs="y a b")


@pytest.mark.parametrize("rotary", [False, True])
def test_heads_that_share_keys(rotary) -> None:
    weights = {"n": np.array([2], np.int32), "t": np.array(3, np.int32)}
    tables = {f: half(getattr(np, f)(noise(8, 8))) for f in ("cos", "sin")} if rotary else {}
    shapes = {"q": (1, 3, 64), "k": (1, 3, 32), "v": (1, 3, 32)}
    more = ", cos, sin" if rotary else ""
    body = f"y, pk, pv = com.microsoft.GroupQueryAttention<num_heads=4, kv_num_heads=2, do_rotary={int(rotary)}>"
    verify(f"{body}(q, k, v, , , n, t{more})", shapes, {**weights, **tables})


STANDARD = [
    ("(q, k, v)", "", HEADS, {}),
    ("(q, k, v)", "is_causal=1, softcap=2.0", HEADS, {}),
    ("(q, k, v, a)", "scale=0.4", {**HEADS, "a": (1, 4, 3, 3)}, {}),
    ("(q, k, v, m)", "", HEADS, {"m": np.array([[True, True, False]] * 3)}),
    ("(q, k, v)", "q_num_heads=2, kv_num_heads=1", {"q": (2, 3, 8), "k": (2, 3, 4), "v": (2, 3, 4)}, {}),
    ("(q, k, v, , pk, pv)", "is_causal=1", {**HEADS, "pk": (1, 2, 2, 4), "pv": (1, 2, 2, 4)}, {}),
]


@pytest.mark.parametrize(("call", "attributes", "shapes", "weights"), STANDARD, ids=range(len(STANDARD)))
def test_attention_of_opset_23(call, attributes, shapes, weights) -> None:
    outputs = "y pk2 pv2" if "pk" in call else "y"
    text = f"{outputs.replace(' ', ', ')} = Attention{f'<{attributes}>' if attributes else ''}{call}"
    verify(text, shapes, weights, outputs, 23, None)


TABLES = {"cos": half(np.cos(noise(8, 2))), "sin": half(np.sin(noise(8, 2, seed=1)))}
PLACES = np.array([[0, 3, 1], [2, 2, 5]])
ROTARY = [
    ("com.microsoft.RotaryEmbedding(x, p, cos, sin)", (2, 3, 8), {"p": PLACES}),
    ("com.microsoft.RotaryEmbedding<interleaved=1>(x, p, cos, sin)", (2, 2, 3, 4), {"p": PLACES}),
    ("com.microsoft.RotaryEmbedding(x, p, cos, sin)", (2, 3, 8), {"p": np.array([2])}),
    ("com.microsoft.RotaryEmbedding<num_heads=2, rotary_embedding_dim=4>(x, p, cos, sin)", (2, 3, 12), {"p": PLACES}),
    ("RotaryEmbedding<num_heads=2>(x, cos, sin, p)", (2, 3, 8), {"p": PLACES}),
    ("RotaryEmbedding<interleaved=1>(x, cos, sin, p)", (2, 2, 3, 4), {"p": PLACES}),
]


@pytest.mark.parametrize(("call", "shape", "weights"), ROTARY, ids=range(len(ROTARY)))
def test_rotary_embeddings(call, shape, weights) -> None:
    own = call.startswith("com")
    verify(f"y = {call}", {"x": shape}, {**weights, **TABLES}, "y", 17 if own else 23, MS if own else None)


def test_what_is_not_written_out_says_why() -> None:
    inputs = {n: half(noise(*s)) for n, s in SELF.items()}
    lengths = {"m": np.array([3, 2], np.int32)}
    model = model_of("y = com.microsoft.Attention<num_heads=2>(x, w, b, m)", inputs, lengths, dtype="float", domains=MS)
    assert "its mask has lengths" in adjoint_of(model, inputs, ["x"]).missing["x"]
