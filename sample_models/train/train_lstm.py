"""Train digits_lstm.onnx: an LSTM that reads an image row by row, through the old exporter."""

import torch
from torch import nn

from publishing import OUT_DIR, Package, publish
from torch_fit import fit, seed_torch

NAME = "digits_lstm"
HIDDEN, LAYERS = 64, 2


class RowReader(nn.Module):
    """A stacked LSTM over the eight rows; the last step is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, HIDDEN, LAYERS, batch_first=True)
        self.fc = nn.Linear(HIDDEN, 10)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        steps, _ = self.lstm(rows)
        return self.fc(steps[:, -1])


def main() -> None:
    """Train, export and publish the model."""
    seed_torch()
    model = RowReader()
    fit(model, channels=False, epochs=150, rate=0.006)
    torch.onnx.export(
        model,
        (torch.zeros(2, 8, 8),),
        OUT_DIR / f"{NAME}.onnx",
        dynamo=False,
        input_names=["rows"],
        output_names=["logits"],
        dynamic_axes={"rows": {0: "batch"}, "logits": {0: "batch"}},
    )
    publish(
        NAME,
        framework=Package("PyTorch", "torch"),
        exporter=Package("torch.onnx.export(dynamo=False)", "torch"),
        architecture=(
            f"LSTM of {LAYERS} layers with hidden size {HIDDEN} reading 8 rows of 8 pixels; "
            "linear head on the last step."
        ),
        scores="logits",
        to_input=lambda images: images,
    )


if __name__ == "__main__":
    main()
