"""Numbers of every family, by the keys that it has, from the pruned model; what nobody could read is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import onnx
import pytest

import spa_cli
from spa_cli.errors import VerificationError
from spa_cli.folders.configs import Config
from spa_cli.folders.measured import Heads
from spa_cli.folders.numbers import fits_caches
from spa_cli.result import Result
from tests.folders.making import OPTIMUM, decoder, optimum
from tests.transformers import DIM, HEADS, HIDDEN, WIDTH, bert, family, fused_bert, gpt2, llama, phi3, t5


def folder_of(path: Path, build, **said: object) -> Path:
    """A folder of a family's toy."""
    path.mkdir()
    onnx.save(family(build), str(path / "model.onnx"))
    (path / "config.json").write_text(json.dumps(said))
    return path


def shapes(result) -> dict[str, tuple[int, ...]]:
    return {t.name: tuple(t.dims) for t in result.model.graph.initializer}


def pruned(folder: Path, **options: object) -> tuple[Result, dict[str, int]]:
    """The result, and what its configuration says anew."""
    result = spa_cli.prune(folder, method="l1", **{"ratio": 0.4, **options})
    return result, {key: after for key, (_, after) in result.numbers.get("config.json", {}).items()}


BERT = {
    "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_attention_heads": HEADS, "num_hidden_layers": 1,
    "max_position_embeddings": 20, "type_vocab_size": 2,
}  # fmt: skip
DISTILBERT = {"dim": WIDTH, "hidden_dim": HIDDEN, "n_heads": HEADS, "n_layers": 1}
GPT2 = {"n_embd": WIDTH, "n_inner": HIDDEN, "n_head": HEADS, "n_layer": 1}
T5 = {"d_model": WIDTH, "d_ff": HIDDEN, "num_heads": HEADS, "d_kv": DIM, "num_layers": 1}
LLAMA = {**BERT, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": DIM}


@pytest.mark.parametrize(("build", "given"), [(bert, BERT), (bert, DISTILBERT), (fused_bert, BERT), (gpt2, GPT2)])
def test_encoders(tmp_path, build, given) -> None:
    result, new = pruned(folder_of(tmp_path / "model", build, **given), only=["*residual", "*/heads", "ffn"])
    left, keys = shapes(result), list(given)
    (hidden, ffn), (wide, heads) = left["ffn.up.weight"], left["attn.o.weight"][::-1]
    assert (new[keys[0]], new[keys[1]], new[keys[2]]) == (hidden, ffn, heads // DIM)
    assert wide == hidden < WIDTH
    assert ffn < HIDDEN
    assert heads < HEADS * DIM
    extra = {"head_dim": DIM} if build is not gpt2 and given is BERT and heads != hidden else {}
    assert {k: v for k, v in new.items() if k not in keys} == extra


def test_a_head_width_that_has_a_key_is_one(tmp_path) -> None:
    folder = folder_of(tmp_path / "model", t5, **T5)
    result, new = pruned(folder, target_params=0.6, ratio=None)
    assert new["d_ff"] == shapes(result)["ffn.up.weight"][1] < HIDDEN
    # queries and values have one number: both stay
    assert "d_kv" not in new
    assert not [g.name for g, _ in result.cut_groups if g.kind == "/inside"]
    with pytest.raises(VerificationError, match=r"has one d_kv for all layers, and this cut leaves [123] in one and 4"):
        pruned(folder, only="*/qk", uniform=False)


def test_both_parts_of_a_head_may_shrink_alike(tmp_path) -> None:
    folder = folder_of(tmp_path / "model", t5, **T5)
    result, new = pruned(folder, only=["*/qk", "*/v"], uniform=False, ratio=0.5, round_to=2)
    assert {shapes(result)[f"attn.{n}.weight"][1] for n in "qkv"} == {HEADS * 2}
    assert new == {"d_kv": 2}


def test_query_heads_that_share_keys(tmp_path) -> None:
    folder = folder_of(tmp_path / "model", llama, **LLAMA)
    result, new = pruned(folder, only="*/heads*", ratio=0.5)
    left = shapes(result)
    assert new["num_attention_heads"] * DIM == left["attn.q.weight"][1] == left["attn.o.weight"][0]
    assert new.get("num_key_value_heads", 2) * DIM == left["attn.k.weight"][1]


def test_one_matrix_for_queries_keys_and_values(tmp_path) -> None:
    result, new = pruned(folder_of(tmp_path / "model", phi3, **{**BERT, "head_dim": DIM}), only=["*/heads", "ffn"])
    left = shapes(result)
    assert new == {
        "num_attention_heads": left["attn.o.weight"][0] // DIM,
        "intermediate_size": left["ffn.down.weight"][0],
    }
    assert left["attn.qkv.weight"][1] == 3 * DIM * new["num_attention_heads"]


def test_a_feed_forward_width_that_goes_without_saying(tmp_path, monkeypatch) -> None:
    import tests.transformers

    monkeypatch.setattr(tests.transformers, "HIDDEN", 4 * WIDTH)
    folder = folder_of(tmp_path / "model", gpt2, n_embd=WIDTH, n_inner=None, n_head=HEADS, n_layer=1)
    result, new = pruned(folder, only="*residual")
    assert new == {"n_embd": shapes(result)["embed.word"][1], "n_inner": 4 * WIDTH}
    result, new = pruned(folder, only="ffn")
    assert new == {"n_inner": shapes(result)["ffn.up.weight"][1]}


def test_two_widths_that_are_the_same_are_told_apart(tmp_path, monkeypatch) -> None:
    import tests.transformers

    monkeypatch.setattr(tests.transformers, "HIDDEN", WIDTH)
    folder = folder_of(tmp_path / "model", bert, **{**BERT, "intermediate_size": WIDTH})
    result, new = pruned(folder, only="ffn")
    assert new == {"intermediate_size": shapes(result)["ffn.up.weight"][1]}
    result, new = pruned(folder, only="*residual")
    assert new == {"hidden_size": shapes(result)["embed.word"][1], "head_dim": DIM}


def test_nothing_says_how_wide_heads_in_a_cache_are(tmp_path) -> None:
    hidden, heads, _, width, ffn = OPTIMUM
    folder = optimum(tmp_path / "model")
    (folder / "config.json").write_text(
        json.dumps({"n_embd": hidden, "n_head": heads, "n_inner": ffn, "n_layer": 2, "model_type": "gpt2"})
    )
    _, new = pruned(folder, target_params=0.7, ratio=None)
    assert set(new) == {"n_inner"}
    with pytest.raises(
        VerificationError,
        match=rf"^'config.json' has no number for the {width} channels of a head, which its readers take to be n_embd "
        rf"/ heads, now \d+ / {heads}; leave the residual whole by ignore '\*residual' \(nothing was written\)$",
    ):
        pruned(folder, only="*residual", uniform=False)


def test_a_layer_that_stays_is_counted(tmp_path) -> None:
    folder = optimum(tmp_path / "model", decoder(OPTIMUM, frozen=1))
    with pytest.raises(
        VerificationError,
        match=r"^'config.json' has one intermediate_size for all layers, and this cut changes that of 1 of the 2 "
        r"layers; leave those whole by ignore",
    ):
        pruned(folder, only="wf0")
    (folder / "config.json").write_text(json.dumps({"hidden_size": OPTIMUM[0], "intermediate_size": OPTIMUM[4]}))
    with pytest.raises(VerificationError, match="and this cut changes that of layers that nothing counts"):
        pruned(folder, only="wf0")


@pytest.mark.parametrize("heads", [2, 4, 6])
def test_heads_that_are_not_laid_out_so(tmp_path, heads) -> None:
    folder = folder_of(tmp_path / "model", bert, **{**BERT, "num_attention_heads": heads})
    with pytest.raises(
        VerificationError,
        match=rf"^'config.json' says num_attention_heads {heads}, of {WIDTH // heads} channels each, which is not how "
        r"the attention of 'model.onnx' is laid out; leave it whole",
    ):
        pruned(folder, only="*/heads")


def test_caches_are_made_by_these_numbers() -> None:
    config, before = Config("config.json", {}, (), None), Heads(4, 2, 16)
    # of other caches nothing is said
    fits_caches(config, [((2, 16), (1, 16)), ((3, 5), (2, 5))], before, (1, 16))
    text = "a cache of this cut has 1 heads of 16 channels, and 'config.json' would say 2 of 16; leave attention whole"
    with pytest.raises(VerificationError, match=re.escape(text)):
        fits_caches(config, [((2, 16), (1, 16))], before, (2, 16))
