"""Train further depths of the CIFAR-10 ResNet family for bench_accuracy.py (PyTorch; minutes on a GPU).

    python benchmarks/train_cifar.py DATA [--depths 32,44] [--epochs 200] [--minutes M] [--out FOLDER]

``DATA``: CIFAR-10's training set, as the folder ``cifar-10-batches-py`` of its authors or an ``.npz`` of ``x`` uint8
(50000, 3, 32, 32) and ``y``. The networks, and how they are trained, are those of ``../shared/bench`` (He et al. 2016,
section 4.2, shortcuts of option A): SGD, 0.1 divided by ten at half and at three quarters, momentum 0.9, weight decay
1e-4, batches of 128, padded crops and mirroring; above depth 100 the first epoch at a tenth. All depths are trained at
once, each for ``--epochs`` or what fits into ``--minutes``. Writes ``resnetN.pt``, ``resnetN.onnx`` and
``resnetN_folded.onnx``.
"""

from __future__ import annotations

import argparse
import pickle
import threading
import time
from pathlib import Path

import numpy as np
import torch
from cifar_resnet import CifarResNet
from torch import nn
from torch.nn import functional as F

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH, MOMENTUM, DECAY = 128, 0.9, 1e-4


class Trainer:
    """One network, its momentum, and a step that a GPU replays as one graph."""

    def __init__(self, depth: int, device: str) -> None:
        torch.manual_seed(depth)
        self.depth, self.device = depth, device
        self.net = network(depth).to(device, memory_format=torch.channels_last)
        self.params = list(self.net.parameters())
        self.momentum = [torch.zeros_like(p) for p in self.params]
        self.rate = torch.zeros((), device=device)
        self.loss = torch.zeros((), device=device)
        empty = torch.zeros(BATCH, 3, 32, 32, device=device)
        self.x = empty.contiguous(memory_format=torch.channels_last)
        self.y = torch.zeros(BATCH, dtype=torch.long, device=device)
        self.graph = self.stream = None
        if device == "cuda":
            self.stream = torch.cuda.Stream()
            kept = {k: v.clone() for k, v in self.net.state_dict().items()}
            with torch.cuda.stream(self.stream):
                for _ in range(3):
                    self.step()
                self.graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.graph, stream=self.stream):
                    self.step()
            torch.cuda.synchronize()
            self.net.load_state_dict(kept)
            for m in self.momentum:
                m.zero_()

    def step(self) -> None:
        """SGD with momentum on ``x``, ``y``."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda", cache_enabled=False):
            loss = F.cross_entropy(self.net(self.x).float(), self.y)
        grads = list(torch.autograd.grad(loss, self.params))
        with torch.no_grad():
            self.loss.copy_(loss)
            torch._foreach_add_(grads, self.params, alpha=DECAY)
            torch._foreach_mul_(self.momentum, MOMENTUM)
            torch._foreach_add_(self.momentum, grads)
            torch._foreach_sub_(self.params, torch._foreach_mul(self.momentum, self.rate))

    def train(self, images: torch.Tensor, labels: torch.Tensor, epochs: int, seconds: float) -> None:
        """At most ``epochs``, or what fits into ``seconds``; images are normalised and padded by four."""
        start, generator = time.perf_counter(), torch.Generator(self.device).manual_seed(self.depth)
        context = torch.cuda.stream(self.stream)
        epoch = 0
        with context:
            while (done := max(epoch / epochs, (time.perf_counter() - start) / seconds)) < 1:
                self.rate.fill_(
                    0.01 if self.depth > 100 and epoch == 0 else 0.1 * 10.0 ** -((done >= 0.5) + (done >= 0.75))
                )
                order = torch.randperm(len(images), generator=generator, device=self.device)
                moved = torch.randint(0, 9, (2, len(images)), generator=generator, device=self.device)
                mirror = torch.rand(len(images), generator=generator, device=self.device) < 0.5
                for at in range(0, len(images) - BATCH + 1, BATCH):
                    which = order[at : at + BATCH]
                    self.x.copy_(crops(images[which], moved[:, which], mirror[which]))
                    self.y.copy_(labels[which])
                    self.step() if self.graph is None else self.graph.replay()
                epoch += 1
                if self.stream is not None:
                    self.stream.synchronize()
        print(f"resnet{self.depth}: {epoch} epochs, last loss {float(self.loss):.3f}", flush=True)


def network(depth: int) -> CifarResNet:
    """A network as it is before training."""
    net = CifarResNet(depth)
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
    return net


def crops(images: torch.Tensor, moved: torch.Tensor, mirror: torch.Tensor) -> torch.Tensor:
    """Windows of 32x32 of padded ``images`` at offsets ``moved``, some of them mirrored."""
    span = torch.arange(32, device=images.device)
    columns = torch.where(mirror[:, None], span.flip(0), span)
    rows = (moved[0, :, None] + span)[:, None, :, None]
    columns = (moved[1, :, None] + columns)[:, None, None, :]
    where = torch.arange(len(images), device=images.device)[:, None, None, None]
    return images[where, torch.arange(3, device=images.device)[:, None, None], rows, columns]


def normalised(images: np.ndarray) -> torch.Tensor:
    """uint8 images as the networks take them."""
    mean, deviation = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    return (torch.from_numpy(images).float() / 255 - mean) / deviation


def training_set(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, 3, 32, 32) and labels int64 (n,)."""
    if path.is_dir():
        batches = [pickle.loads((path / f"data_batch_{i}").read_bytes(), encoding="bytes") for i in range(1, 6)]
        images = np.concatenate([b[b"data"] for b in batches]).reshape(-1, 3, 32, 32)
        return images, np.concatenate([b[b"labels"] for b in batches]).astype(np.int64)
    data = np.load(path)
    return data["x"], data["y"].astype(np.int64)


def export(net: CifarResNet, path: Path, folded: bool) -> None:
    """Write ONNX with BatchNorm kept or folded; the batch stays free."""
    torch.onnx.export(
        net.eval(),
        (torch.zeros(1, 3, 32, 32),),
        str(path),
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
        do_constant_folding=folded,
        training=torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE,
    )


def main() -> None:
    """Train, or export what was trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--depths", default="32,44")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path, default=Path())
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, y = training_set(args.data)
    images, labels = F.pad(normalised(x), (4, 4, 4, 4)).to(device), torch.from_numpy(y).to(device)
    trainers = [Trainer(int(depth), device) for depth in args.depths.split(",")]
    threads = [
        threading.Thread(target=t.train, args=(images, labels, args.epochs, 60 * args.minutes)) for t in trainers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    args.out.mkdir(parents=True, exist_ok=True)
    for trainer in trainers:
        torch.save(trainer.net.cpu().state_dict(), args.out / f"resnet{trainer.depth}.pt")
    for trainer in trainers:
        for folded in (False, True):
            export(trainer.net, args.out / f"resnet{trainer.depth}{'_folded' * folded}.onnx", folded)


if __name__ == "__main__":
    main()
