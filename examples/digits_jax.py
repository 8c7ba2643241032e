"""The digits MLP-Mixer in JAX (flax nnx), as wide as the weights it is given; training and measuring it.

It computes what the dense network of ``sample_models/train`` does, and has the same parameters.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import onnxruntime
import optax
import sources  # noqa: F401 - what is imported below lies where this says
from flax import nnx

import train_mixer
from digits import SEED, epoch_batches, load_split

PACKAGES = ("jax", "flax", "jax2onnx", "onnx", "onnxruntime", "numpy", "scikit-learn")
# epochs and rate of training on after a cut
TUNING = (40, 0.002)
State = Mapping[str, np.ndarray]


class Mlp(nnx.Module):
    """Two linear layers around a GELU."""

    def __init__(self, state: State, name: str, rngs: nnx.Rngs) -> None:
        self.fc1 = nnx.Linear(*state[f"{name}.fc1.kernel"].shape, rngs=rngs)
        self.fc2 = nnx.Linear(*state[f"{name}.fc2.kernel"].shape, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applied to the last axis."""
        return self.fc2(nnx.gelu(self.fc1(x)))


class Block(nnx.Module):
    """Mixes across tokens, then across channels, each with a residual connection."""

    def __init__(self, state: State, name: str, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(len(state[f"{name}.norm1.scale"]), rngs=rngs)
        self.tokens = Mlp(state, f"{name}.tokens", rngs)
        self.norm2 = nnx.LayerNorm(len(state[f"{name}.norm2.scale"]), rngs=rngs)
        self.channels = Mlp(state, f"{name}.channels", rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Of (image, token, channel)."""
        x = x + self.tokens(self.norm1(x).transpose(0, 2, 1)).transpose(0, 2, 1)
        return x + self.channels(self.norm2(x))


class Mixer(nnx.Module):
    """``train_mixer.Mixer`` at any widths."""

    def __init__(self, state: State) -> None:
        # drawn, and then replaced by the state's
        rngs = nnx.Rngs(SEED)
        *window, inputs, self.width = state["patches.kernel"].shape
        self.patches = nnx.Conv(inputs, self.width, window, strides=window, padding="VALID", rngs=rngs)
        self.blocks = nnx.List([Block(state, f"blocks.{i}", rngs) for i in range(train_mixer.DEPTH)])
        self.norm = nnx.LayerNorm(self.width, rngs=rngs)
        self.head = nnx.Linear(*state["head.kernel"].shape, rngs=rngs)
        for name, param in parameters(self).items():
            param.set_value(jax.numpy.asarray(state[name]))

    def __call__(self, image: jax.Array) -> jax.Array:
        """Class scores."""
        x = self.patches(image).reshape(image.shape[0], train_mixer.TOKENS, self.width)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(axis=1))


def parameters(model: nnx.Module) -> dict[str, nnx.Param]:
    """The parameters by their paths, joined by dots."""
    return {".".join(map(str, path)): p for path, p in nnx.iter_graph(model) if isinstance(p, nnx.Param)}


def state_of(model: nnx.Module) -> dict[str, np.ndarray]:
    """Their values."""
    return {name: np.asarray(p.get_value()) for name, p in parameters(model).items()}


def untrained() -> Mixer:
    """The dense network as training starts from it: as wide, and with the same first weights, as the sample's."""
    return Mixer(state_of(train_mixer.Mixer(nnx.Rngs(SEED))))


@functools.cache
def dense() -> dict[str, np.ndarray]:
    """The weights of the dense network, trained once a process."""
    model = untrained()
    train(model)
    return state_of(model)


def train(model: Mixer, epochs: int = train_mixer.EPOCHS, rate: float = train_mixer.RATE) -> None:
    """In place, as the sample model was."""
    split, rng, batch = load_split(), np.random.default_rng(SEED), train_mixer.BATCH
    schedule = optax.cosine_onecycle_schedule(epochs * (len(split.train_x) // batch), rate)
    optimiser = nnx.Optimizer(model, optax.adamw(schedule, weight_decay=0.02), wrt=nnx.Param)
    for epoch in range(epochs):
        for images, labels in epoch_batches(split.train_x, split.train_y, batch, rng):
            loss = train_mixer.step(model, optimiser, images[..., None], labels)
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {float(loss):.4f}", file=sys.stderr, flush=True)


def scores(model: Mixer) -> np.ndarray:
    """Class scores of the test images."""
    return np.asarray(model(load_split().test_x[..., None]))


def onnx_scores(path: Path) -> np.ndarray:
    """The same of a file, in onnxruntime."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"image": load_split().test_x[..., None]})
    return np.asarray(found)


def accuracy(found: np.ndarray) -> float:
    """In percent of the test images."""
    return 100 * float((found.argmax(1) == load_split().test_y).mean())
