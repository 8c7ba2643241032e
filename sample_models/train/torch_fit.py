"""The training loop that the PyTorch sample models share."""

import numpy as np
import torch
from torch import nn

from digits import SEED, Array, epoch_batches, load_split


def seed_torch() -> None:
    """Make weight initialisation and training repeatable; call it before building a model."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)


def fit(model: nn.Module, channels: bool, epochs: int, rate: float, decay: float = 0.01) -> None:
    """Train in place with AdamW and a one-cycle rate; leave the model in evaluation mode.

    With ``channels`` the model reads (n, 1, 8, 8), otherwise (n, 8, 8).
    """
    split, rng = load_split(), np.random.default_rng(SEED)
    size = 60
    steps = epochs * (len(split.train_x) // size)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for images, labels in epoch_batches(split.train_x, split.train_y, size, rng):
            loss = loss_of(model(as_tensor(images, channels)), torch.from_numpy(labels))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {total * size / len(split.train_x):.4f}", flush=True)
    model.eval()


def as_tensor(images: Array, channels: bool) -> torch.Tensor:
    """Images as the tensor that a model reads."""
    tensor = torch.from_numpy(images)
    return tensor.unsqueeze(1) if channels else tensor
