"""The digits ResNet and ViT in PyTorch, as wide as the weights they are given.

They compute what the dense networks of ``sample_models/train`` do and have the same parameters under the same names;
only their widths are read off a state dict. That is all a network needs to be pruned at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

State = Mapping[str, torch.Tensor]
# "kept" of a plan: the indices that stay, by tensor and axis
Kept = Mapping[str, Mapping[str, Any]]
# of the dense ViT
HEADS, HEAD_DIM, DEPTH = 4, 16, 3


def conv(state: State, name: str, stride: int = 1) -> nn.Conv2d:
    """A convolution of the shape of its weight, padded so that only the stride shrinks the image."""
    outputs, inputs, size, _ = state[f"{name}.weight"].shape
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def linear(state: State, name: str) -> nn.Linear:
    """A linear layer of the shape of its weight."""
    outputs, inputs = state[f"{name}.weight"].shape
    return nn.Linear(inputs, outputs)


def batch_norm(state: State, name: str) -> nn.BatchNorm2d:
    """A norm over as many channels as it has weights."""
    return nn.BatchNorm2d(len(state[f"{name}.weight"]))


def layer_norm(state: State, name: str) -> nn.LayerNorm:
    """A norm over as many features as it has weights."""
    return nn.LayerNorm(len(state[f"{name}.weight"]))


class Block(nn.Module):
    """Two 3x3 convolutions beside an identity or a 1x1 projection shortcut."""

    def __init__(self, state: State, name: str, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(state, f"{name}.conv1", stride), batch_norm(state, f"{name}.bn1")
        self.conv2, self.bn2 = conv(state, f"{name}.conv2"), batch_norm(state, f"{name}.bn2")
        self.shortcut: nn.Module = nn.Identity()
        # what is added up loses the same channels, so an identity stays one
        if f"{name}.shortcut.0.weight" in state:
            projection = conv(state, f"{name}.shortcut.0", stride)
            self.shortcut = nn.Sequential(projection, batch_norm(state, f"{name}.shortcut.1"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the convolutions make to the shortcut."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """``train_resnet.ResNet`` at any widths."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(state, "stem.0"), batch_norm(state, "stem.1"), nn.ReLU())
        self.stage1 = nn.Sequential(Block(state, "stage1.0"), Block(state, "stage1.1"))
        self.stage2 = nn.Sequential(Block(state, "stage2.0", 2), Block(state, "stage2.1"))
        self.stage3 = nn.Sequential(Block(state, "stage3.0", 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = linear(state, "fc")
        self.load_state_dict(state)

    def smaller(self, state: State, kept: Kept) -> ResNet:
        """The network of what a cut left; the shapes say it all."""
        return ResNet(state)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Class scores."""
        x = self.stage3(self.stage2(self.stage1(self.stem(image))))
        return self.fc(torch.flatten(self.pool(x), 1))


class Attention(nn.Module):
    """Self-attention with ``heads`` heads, and one fused projection of queries, keys and values."""

    def __init__(self, state: State, name: str, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = linear(state, f"{name}.qkv"), linear(state, f"{name}.proj")
        self.head_dim = self.qkv.out_features // 3 // heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mix the tokens."""
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        # a cut takes terms of q @ k away but leaves the others what they were: the scale stays the dense network's
        weights = ((q * HEAD_DIM**-0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, self.heads * self.head_dim))


class Encoder(nn.Module):
    """A pre-norm transformer encoder block."""

    def __init__(self, state: State, name: str, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = layer_norm(state, f"{name}.norm1"), Attention(state, f"{name}.attn", heads)
        self.norm2 = layer_norm(state, f"{name}.norm2")
        self.fc1, self.fc2 = linear(state, f"{name}.fc1"), linear(state, f"{name}.fc2")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attention, then a perceptron, each added to what was there."""
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    """``train_vit.VisionTransformer`` at any widths, with any number of heads in each block."""

    def __init__(self, state: State, heads: Sequence[int] = (HEADS,) * DEPTH) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(1, len(state["patch_embed.weight"]), kernel_size=2, stride=2)
        self.cls_token = nn.Parameter(torch.empty(state["cls_token"].shape))
        self.pos_embed = nn.Parameter(torch.empty(state["pos_embed"].shape))
        self.blocks = nn.Sequential(*(Encoder(state, f"blocks.{i}", n) for i, n in enumerate(heads)))
        self.norm, self.head = layer_norm(state, "norm"), linear(state, "head")
        self.load_state_dict(state)

    def smaller(self, state: State, kept: Kept) -> ViT:
        """The network of what a cut left. Shapes give heads times dimensions; which rows stayed tells them apart."""
        heads = []
        for i, block in enumerate(self.blocks):
            attn, rows = block.attn, kept.get(f"blocks.{i}.attn.qkv.weight", {}).get("0")
            stayed = range(attn.heads) if rows is None else {r // attn.head_dim % attn.heads for r in rows}
            heads.append(len(stayed))
        return ViT(state, heads)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Class scores."""
        x = self.patch_embed(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])
