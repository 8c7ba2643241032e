"""Networks in torch, their ONNX exports, and their gradients by autograd alone."""

import io
import warnings
from typing import Any

import onnx
import torch
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    """Convolutions with BatchNorm, a depthwise one, a residual sum."""

    inputs = (("x", (6, 3, 9, 9)),)

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.depth, self.point = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.Conv2d(8, 8, 1)
        self.inner, self.head = nn.BatchNorm2d(8), nn.Linear(8, 5)
        for norm in (self.norm, self.inner):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)

    def forward(self, x) -> Any:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.inner(self.point(F.hardswish(self.depth(x)))))
        return self.head(F.max_pool2d(x, 2).mean((2, 3)))


class Perceptron(nn.Module):
    """Gemm for two axes, MatMul for three, a tied weight."""

    inputs = (("x", (6, 4, 7)),)

    def __init__(self):
        super().__init__()
        self.first, self.tied, self.head = nn.Linear(7, 10), nn.Linear(10, 10, bias=False), nn.Linear(10, 4)
        self.scale = nn.Parameter(torch.rand(10) + 0.5)

    def forward(self, x) -> Any:
        x = torch.tanh(self.first(x)) * self.scale
        x = F.gelu(self.tied(x)) + self.tied(x)
        return self.head(x.mean(1))


class Transformer(nn.Module):
    """Embedding, LayerNorm, attention, a feed-forward block."""

    inputs = (("x", (5, 6), 11),)

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(11, 8), nn.Parameter(torch.randn(1, 6, 8))
        self.before, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.after, self.wide, self.narrow = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.head = nn.Linear(8, 3)
        # the old exporter makes one initializer of parameters that are equal
        for norm in (self.before, self.after):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)

    def forward(self, x) -> Any:
        x = self.words(x) + self.places
        n, t, d = x.shape
        q, k, v = self.qkv(self.before(x)).reshape(n, t, 3, 2, 4).permute(2, 0, 3, 1, 4)
        scores = torch.softmax(q @ k.transpose(-1, -2) / 2, -1)
        x = x + self.out((scores @ v).transpose(1, 2).reshape(n, t, d))
        x = x + self.narrow(F.gelu(self.wide(self.after(x))))
        return self.head(x[:, 0])


class Recurrent(nn.Module):
    """A bidirectional LSTM and a GRU."""

    inputs = (("x", (4, 5, 3)),)

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True, bidirectional=True)
        self.gru, self.head = nn.GRU(8, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x) -> Any:
        x, _ = self.gru(self.lstm(x)[0])
        return self.head(x[:, -1])


class Contraction(nn.Module):
    """Einsum with two weights."""

    inputs = (("x", (6, 4, 5)),)

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.randn(4, 6, 3))

    def forward(self, x) -> Any:
        return torch.einsum("nth,thc->nc", torch.tanh(torch.einsum("nti,ih->nth", x, self.left)), self.right)


NETWORKS = (Residual, Perceptron, Transformer, Recurrent, Contraction)


def made(network) -> Any:
    """(the network in evaluation mode, its inputs)."""
    torch.manual_seed(0)
    module = network().eval()
    drawn = [torch.randint(0, top[0], shape) if top else torch.randn(shape) for _, shape, *top in network.inputs]
    return module, drawn


def exported(module, inputs, how) -> Any:
    """The module as ONNX, with a free batch; ``how``: "script" (the old exporter), "dynamo"."""
    names, file = [name for name, *_ in module.inputs], io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "dynamo":
            free = tuple({0: torch.export.Dim("n")} for _ in inputs)
            return torch.onnx.export(
                module,
                tuple(inputs),
                input_names=names,
                dynamic_shapes=free,
                dynamo=True,
                optimize=False,
                verbose=False,
            ).model_proto
        torch.onnx.export(
            module,
            tuple(inputs),
            file,
            input_names=names,
            dynamic_axes={n: {0: "n"} for n in names},
            dynamo=False,
            do_constant_folding=False,
            # evaluation mode would fold BatchNorm into convolutions
            training=torch.onnx.TrainingMode.PRESERVE,
        )
    return onnx.load_from_string(file.getvalue())


def feeds_of(module, inputs) -> Any:
    return {name: x.numpy() for (name, *_), x in zip(module.inputs, inputs, strict=True)}


def autograd(module, inputs, loss) -> Any:
    """Gradient of ``loss(outputs)`` by each parameter, in numpy."""
    parameters = dict(module.named_parameters())
    found = torch.autograd.grad(loss(module(*inputs)), list(parameters.values()))
    return {n: g.detach().numpy() for n, g in zip(parameters, found, strict=True)}
