"""Train digits_resnet.onnx: a residual CNN in PyTorch, through the new (dynamo) exporter."""

import torch
from torch import nn

from publishing import OUT_DIR, Package, publish
from torch_fit import fit, seed_torch

NAME = "digits_resnet"


class Block(nn.Module):
    """Two 3x3 convolutions beside an identity or a 1x1 projection shortcut."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            projection = nn.Conv2d(width_in, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """Stem, three residual stages, global average pooling and a linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.stage1 = nn.Sequential(Block(16, 16, 1), Block(16, 16, 1))
        self.stage2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1))
        self.stage3 = nn.Sequential(Block(32, 48, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(48, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stage3(self.stage2(self.stage1(self.stem(image))))
        return self.fc(torch.flatten(self.pool(x), 1))


def main() -> None:
    """Train, export and publish the model."""
    seed_torch()
    model = ResNet()
    fit(model, channels=True, epochs=40, rate=0.005)
    # The exporter would otherwise write this machine's paths into every node's metadata.
    torch.fx.config.do_not_emit_stack_traces = True
    # optimize=False keeps the BatchNormalization nodes, which the optimizer would fold away.
    torch.onnx.export(
        model,
        (torch.zeros(2, 1, 8, 8),),
        OUT_DIR / f"{NAME}.onnx",
        dynamo=True,
        optimize=False,
        external_data=False,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    publish(
        NAME,
        framework=Package("PyTorch", "torch"),
        exporter=Package("torch.onnx.export(dynamo=True, optimize=False)", "torch"),
        architecture=(
            "Residual CNN: stem, stages of 16, 32 and 48 channels with identity and 1x1-projection "
            "shortcuts, BatchNormalization left unfolded, global average pooling, linear head."
        ),
        scores="logits",
        to_input=lambda images: images[:, None],
    )


if __name__ == "__main__":
    main()
