"""Operators whose channels stay as they are, each with the reason it gives."""

from __future__ import annotations

from spa_cli.channels.rules.registry import MICROSOFT, register
from spa_cli.channels.state import Channels, Decline
from spa_cli.graph.model import Node

_QUANTISED = "DynamicQuantizeLSTM QAttention QMoE QEmbedLayerNormalization"


@register("SequenceMap", follows=False)
def sequence_map(node: Node, state: Channels) -> None:
    """Its body runs over the tensors of a sequence."""
    raise Decline("the body of SequenceMap is not followed")


@register(_QUANTISED, domain=MICROSOFT, follows=False)
def quantised(node: Node, state: Channels) -> None:
    """Whole quantised blocks in one operator."""
    raise Decline(f"quantised operator {node.op} is not followed yet")


_FUSED = "Attention MultiHeadAttention GroupQueryAttention DecoderMaskedMultiHeadAttention EmbedLayerNormalization"


@register(_FUSED, "RotaryEmbedding", "PackedAttention", "GroupNorm", "NhwcConv", domain=MICROSOFT, follows=False)
def fused_kernels(node: Node, state: Channels) -> None:
    """Whole blocks in one operator."""
    raise Decline(f"fused operator com.microsoft::{node.op} is not followed yet")
