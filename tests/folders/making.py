"""Tiny model folders as optimum and the onnxruntime-genai builder write them, and text generated from one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx.external_data_helper import convert_model_to_external_data

from tests.builders import build
from tests.calibration.words import word_level

WORDS, LAYERS = 24, 2
# hidden, heads, heads of keys, channels of one, feed-forward
OPTIMUM, GENAI = (12, 2, 2, 6, 20), (16, 4, 2, 32, 40)
# packed in blocks of 32; heads together are as wide as the feed-forward layer
PACKED = (64, 4, 2, 32, 128)

_OWN = """
  q0_ = MatMul(x_, wq_)  k0_ = MatMul(x_, wk_)  v0_ = MatMul(x_, wv_)
  q1_ = Reshape(q0_, split)  k1_ = Reshape(k0_, split)  v1_ = Reshape(v0_, split)
  q2_ = Transpose<perm=[0,2,1,3]>(q1_)  k2_ = Transpose<perm=[0,2,1,3]>(k1_)  v2_ = Transpose<perm=[0,2,1,3]>(v1_)
  PK_ = Concat<axis=2>(K_, k2_)  PV_ = Concat<axis=2>(V_, v2_)
  kt_ = Transpose<perm=[0,1,3,2]>(PK_)  s_ = MatMul(q2_, kt_)  a0_ = Add(s_, mask)
  a1_ = Softmax<axis=-1>(a0_)  a2_ = MatMul(a1_, PV_)
  a3_ = Transpose<perm=[0,2,1,3]>(a2_)  o_ = Reshape(a3_, joined)
"""
_GROUPED = """
  q0_ = MatMul(x_, wq_)  k0_ = MatMul(x_, wk_)  v0_ = MatMul(x_, wv_)
  o_, PK_, PV_ = com.microsoft.GroupQueryAttention<num_heads=4, kv_num_heads=2>(q0_, k0_, v0_, K_, V_, last, total)
"""
_REST = """
  h1_ = MatMul(o_, wo_)  h2_ = Add(h1_, x_)  f0_ = MatMul(h2_, wf_)  f1_ = Relu(f0_)  f2_ = MatMul(f1_, wg_)
  xNEXT = Add(h2_, f2_)
"""
_MASK = "m0 = Cast<to=1>(attention_mask)  m1 = Sub(one, m0)  m2 = Mul(m1, low)  mask = Unsqueeze(m2, axes)"
_LENGTHS = """
  i0 = ReduceSum<keepdims=0>(attention_mask, second)  i1 = Sub(i0, unit)  last = Cast<to=6>(i1)
  i2 = Shape(attention_mask)  i3 = Gather(i2, at)  total = Cast<to=6>(i3)
"""


def decoder(sizes: tuple[int, ...], frozen: int | None = None) -> onnx.ModelProto:
    """Layers of attention with a cache and of a feed-forward network; ``frozen``: its hidden channels also go out."""
    hidden, heads, shared, width, ffn = sizes
    grouped = sizes != OPTIMUM
    weights: dict[str, object] = {"words": (WORDS, hidden), "wl": (hidden, WORDS)}
    if grouped:
        weights |= {"second": [1], "unit": [1], "at": np.array(1)}
    else:
        weights |= {"split": [0, 0, heads, width], "joined": [0, 0, heads * width], "axes": [1, 2]}
        weights |= {"one": np.float32([1]), "low": np.float32([-1e4])}
    text, caches, presents = [_LENGTHS if grouped else _MASK, "x0 = Gather(words, input_ids)"], [], []
    for layer in range(LAYERS):
        body = (_GROUPED if grouped else _OWN) + _REST.replace("NEXT", str(layer + 1))
        text.append(body.replace("_ ", f"{layer} ").replace("_,", f"{layer},").replace("_)", f"{layer})"))
        weights |= {f"wq{layer}": (hidden, heads * width), f"wo{layer}": (heads * width, hidden)}
        weights |= {f"w{kind}{layer}": (hidden, shared * width) for kind in "kv"}
        weights |= {f"wf{layer}": (hidden, ffn), f"wg{layer}": (ffn, hidden)}
        caches += [f"float[batch,{shared},past,{width}] {kind}{layer}" for kind in "KV"]
        presents += [f"float[batch,{shared},total,{width}] P{kind}{layer}" for kind in "KV"]
    outputs = [f"float[batch,sequence,{WORDS}] logits", *presents]
    if frozen is not None:
        outputs.append(f"float[batch,sequence,{ffn}] f1{frozen}")
    inputs = ["int64[batch,sequence] input_ids", "int64[batch,total] attention_mask", *caches]
    body = " ".join(text) + f" logits = MatMul(x{LAYERS}, wl)"
    model = build(
        f"({', '.join(inputs)}) => ({', '.join(outputs)}) {{ {body} }}",
        domains={"com.microsoft": 1} if grouped else {},
        **weights,
    )
    return _named(model)


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    names = {f"{kind}{n}": f"past_key_values.{n}.{word}" for n in range(LAYERS) for kind, word in _KINDS}
    names |= {f"P{kind}{n}": f"present.{n}.{word}" for n in range(LAYERS) for kind, word in _KINDS}
    for info in (*model.graph.input, *model.graph.output):
        info.name = names.get(info.name, info.name)
    for node in model.graph.node:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]
    return model


_KINDS = (("K", "key"), ("V", "value"))


def optimum(folder: Path, model: onnx.ModelProto | None = None, **said: object) -> Path:
    """A folder as optimum writes it for a Llama; ``said``: what else config.json says."""
    folder.mkdir()
    onnx.save(model or decoder(OPTIMUM), str(folder / "model.onnx"))
    hidden, heads, shared, _, ffn = OPTIMUM
    numbers = {"hidden_size": hidden, "intermediate_size": ffn, "num_attention_heads": heads}
    numbers |= {"num_hidden_layers": LAYERS, "num_key_value_heads": shared, "vocab_size": WORDS}
    rest = {"model_type": "llama", "rms_norm_eps": 1e-05, "architectures": ["LlamaForCausalLM"]}
    _write(folder / "config.json", {**rest, **numbers, **said}, 2)
    _write(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2}, 2)
    word_level(folder / "tokenizer.json")
    (folder / "special").mkdir()
    (folder / "special" / "vocab.txt").write_bytes("Wörter\r\n".encode())
    return folder


def packed(sizes: tuple[int, ...], flat: bool) -> onnx.ModelProto:
    """The same with weights of four bits, made up; ``flat``: their scales lie in one list."""
    model, rng = decoder(sizes), np.random.default_rng(0)
    matrices = {t.name: t for t in model.graph.initializer if t.name[0] == "w" and t.name[-1].isdigit()}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in matrices:
            tensor = matrices[node.input[1]]
            k, n = tensor.dims
            scales = rng.uniform(0.005, 0.02, (n, k // 32)).astype(np.float32)
            own = rng.integers(0, 256, (n, k // 32, 16), np.uint8), scales.ravel() if flat else scales
            node.op_type, node.domain = "MatMulNBits", "com.microsoft"
            node.input.append(f"{tensor.name}_scales")
            said = {"K": k, "N": n, "bits": 4, "block_size": 32}
            node.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in said.items())
            model.graph.initializer.remove(tensor)
            model.graph.initializer.extend(map(onnx.numpy_helper.from_array, own, node.input[1:]))
    return model


def genai(
    folder: Path, model: onnx.ModelProto | None = None, file: str = "model.onnx", sizes: tuple[int, ...] = GENAI
) -> Path:
    """A folder as the onnxruntime-genai builder writes it, weights in a file of their own."""
    folder.mkdir()
    model = model or decoder(sizes)
    convert_model_to_external_data(model, location="model.onnx.data", size_threshold=64)
    onnx.save(model, str(folder / "model.onnx"))
    hidden, heads, shared, width, _ = sizes
    said = {"filename": file, "head_size": width, "hidden_size": hidden, "num_attention_heads": heads}
    said |= {"num_hidden_layers": LAYERS, "num_key_value_heads": shared}
    inputs = {"past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"}
    names = {"inputs": {"input_ids": "input_ids", "attention_mask": "attention_mask", **inputs}}
    outputs = {"present_key_names": "present.%d.key", "present_value_names": "present.%d.value"}
    names["outputs"] = {"logits": "logits", **outputs}
    options = {"session_options": {"provider_options": []}}
    inside = {"bos_token_id": 1, "context_length": 64, "decoder": {**options, **said, **names}, "eos_token_id": 2}
    inside |= {"pad_token_id": 2, "type": "llama", "vocab_size": WORDS}
    search = {"do_sample": False, "max_length": 64, "past_present_share_buffer": False}
    _write(folder / "genai_config.json", {"model": inside, "search": search}, 4)
    word_level(folder / "tokenizer.json")
    return folder


def _write(path: Path, data: object, indent: int) -> None:
    path.write_text(json.dumps(data, indent=indent) + "\n", encoding="utf-8")


def said(folder: Path) -> dict[str, int]:
    """The numbers of its configuration."""
    if (folder / "config.json").is_file():
        return json.loads((folder / "config.json").read_text("utf-8"))
    return json.loads((folder / "genai_config.json").read_text("utf-8"))["model"]["decoder"]


def weights(folder: Path) -> dict[str, list[int]]:
    """Shapes of its model."""
    return {t.name: list(t.dims) for t in onnx.load(str(folder / "model.onnx")).graph.initializer}


def generate(folder: Path, first: int, count: int = 32) -> list[int]:
    """Greedy tokens by plain onnxruntime, with caches as configurations say they are."""
    numbers = said(folder)
    heads = numbers.get("num_key_value_heads") or numbers["num_attention_heads"]
    width = numbers.get("head_dim") or numbers.get("head_size") or numbers["hidden_size"] // heads
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    pasts = [i.name for i in session.get_inputs() if i.name.startswith("past")]
    caches = {name: np.zeros((1, heads, 0, width), np.float32) for name in pasts}
    tokens = [first]
    for length in range(count):
        ids, mask = np.array([tokens[-1:]]), np.ones((1, length + 1), np.int64)
        logits, *presents = session.run(None, {"input_ids": ids, "attention_mask": mask, **caches})
        caches = dict(zip(pasts, presents, strict=False))
        tokens.append(int(logits[0, -1].argmax()))
    return tokens[1:]
