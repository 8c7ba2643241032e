"""What the numbers of a configuration are called, family by family."""

from __future__ import annotations

# what blocks add to
RESIDUAL = (
    *("hidden_size", "n_embd", "d_model", "dim", "n_embed", "emb_dim"),
    *("embedding_size", "word_embed_proj_dim"),
)
# between the two matrices of a feed-forward layer
HIDDEN = (
    *("intermediate_size", "n_inner", "ffn_dim", "d_ff", "hidden_dim", "moe_intermediate_size"),
    *("encoder_ffn_dim", "decoder_ffn_dim"),
)
HEADS = (
    *("num_attention_heads", "n_head", "n_heads", "num_heads"),
    *("encoder_attention_heads", "decoder_attention_heads"),
)
# of keys and values, where queries share them
KEY_HEADS = ("num_key_value_heads", "num_kv_heads")
# channels of one head
PER_HEAD = ("head_dim", "head_size", "d_kv", "attention_head_size")
LAYERS = (
    *("num_hidden_groups", "num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    *("encoder_layers", "decoder_layers"),
)
KNOWN = frozenset((*RESIDUAL, *HIDDEN, *HEADS, *KEY_HEADS, *PER_HEAD))
# those who read these look for a head_dim, too, before they divide
READS_PER_HEAD = ("num_attention_heads", "hidden_size")
# GPT-2's feed-forward layers are so many times as wide as the rest where nothing else is said
GPT2_HIDDEN, GPT2_RESIDUAL, GPT2_TIMES = "n_inner", "n_embd", 4


def of_side(keys: tuple[str, ...], model: str) -> tuple[str, ...]:
    """Those that are of the encoder or of the decoder only where the model is the other one go."""
    other = "decoder_" if "encoder" in model else "encoder_" if "decoder" in model else None
    return tuple(key for key in keys if other is None or not key.startswith(other))
