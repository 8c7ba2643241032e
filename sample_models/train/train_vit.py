"""Train digits_vit.onnx: a small vision transformer in PyTorch, through the old exporter."""

import torch
from torch import nn
from torch.nn import functional

from publishing import OUT_DIR, Package, publish
from torch_fit import fit, seed_torch

NAME = "digits_vit"
HEADS, HEAD_DIM, DEPTH, HIDDEN = 4, 16, 3, 128
DIM = HEADS * HEAD_DIM
TOKENS = 16


class Attention(nn.Module):
    """Multi-head self-attention with one fused query, key and value projection."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(DIM, 3 * DIM)
        self.proj = nn.Linear(DIM, DIM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, HEADS, HEAD_DIM).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = ((q * HEAD_DIM**-0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, DIM))


class Block(nn.Module):
    """A pre-norm transformer encoder block."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(DIM)
        self.attn = Attention()
        self.norm2 = nn.LayerNorm(DIM)
        self.fc1 = nn.Linear(DIM, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, DIM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class VisionTransformer(nn.Module):
    """2x2 patches, a class token, learned positions, encoder blocks and a linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(1, DIM, kernel_size=2, stride=2)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, DIM))
        self.pos_embed = nn.Parameter(torch.randn(1, TOKENS + 1, DIM) * 0.02)
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(DIM)
        self.head = nn.Linear(DIM, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


def main() -> None:
    """Train, export and publish the model."""
    seed_torch()
    model = VisionTransformer()
    fit(model, channels=True, epochs=150, rate=0.002, decay=0.05)
    torch.onnx.export(
        model,
        (torch.zeros(2, 1, 8, 8),),
        OUT_DIR / f"{NAME}.onnx",
        dynamo=False,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
    )
    publish(
        NAME,
        framework=Package("PyTorch", "torch"),
        exporter=Package("torch.onnx.export(dynamo=False)", "torch"),
        architecture=(
            f"Vision transformer: 2x2 patches, class token, {DEPTH} pre-norm blocks of {HEADS} "
            f"heads x {HEAD_DIM} with fused qkv and a GELU MLP of {HIDDEN}, linear head."
        ),
        scores="logits",
        to_input=lambda images: images[:, None],
    )


if __name__ == "__main__":
    main()
