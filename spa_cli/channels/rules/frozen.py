"""Operators whose channels stay as they are, each with the reason it gives."""

from __future__ import annotations

from spa_cli.channels.rules.registry import MICROSOFT, register
from spa_cli.channels.state import Channels, Decline
from spa_cli.graph.model import Node, captured_names

_QUANTISED = "DynamicQuantizeLSTM QAttention QMoE QEmbedLayerNormalization"


@register("If", "Loop", "Scan", "SequenceMap", follows=False)
def control_flow(node: Node, state: Channels) -> None:
    """What a body reads of the outer graph stays, and so does what it gives."""
    text = f"is used by the body of {node.op} '{node.label}', which is not followed yet"
    for name in captured_names(node.proto):
        for axis in state.axes.get(name, []):
            state.freeze(axis, text)
    raise Decline(f"the bodies of {node.op} are not followed yet")


@register(_QUANTISED, domain=MICROSOFT, follows=False)
def quantised(node: Node, state: Channels) -> None:
    """Whole quantised blocks in one operator."""
    raise Decline(f"quantised operator {node.op} is not followed yet")


_FUSED = "Attention MultiHeadAttention GroupQueryAttention DecoderMaskedMultiHeadAttention EmbedLayerNormalization"


@register(_FUSED, "RotaryEmbedding", "PackedAttention", "GroupNorm", "NhwcConv", domain=MICROSOFT, follows=False)
def fused_kernels(node: Node, state: Channels) -> None:
    """Whole blocks in one operator."""
    raise Decline(f"fused operator com.microsoft::{node.op} is not followed yet")
