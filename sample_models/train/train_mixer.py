"""Train digits_mixer.onnx: an MLP-Mixer in JAX (flax nnx), through jax2onnx."""

import jax
import numpy as np
import optax
from flax import nnx
from jax2onnx import to_onnx

from digits import SEED, epoch_batches, load_split
from publishing import OUT_DIR, Package, publish

NAME = "digits_mixer"
DIM, TOKENS, DEPTH = 48, 16, 3
TOKEN_HIDDEN, CHANNEL_HIDDEN = 32, 128
EPOCHS, BATCH, RATE = 150, 60, 0.004


class Mlp(nnx.Module):
    """Two linear layers around a GELU."""

    def __init__(self, width: int, hidden: int, rngs: nnx.Rngs) -> None:
        self.fc1 = nnx.Linear(width, hidden, rngs=rngs)
        self.fc2 = nnx.Linear(hidden, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(nnx.gelu(self.fc1(x)))


class Block(nnx.Module):
    """Mixes across tokens, then across channels, each with a residual connection."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(DIM, rngs=rngs)
        self.tokens = Mlp(TOKENS, TOKEN_HIDDEN, rngs)
        self.norm2 = nnx.LayerNorm(DIM, rngs=rngs)
        self.channels = Mlp(DIM, CHANNEL_HIDDEN, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.tokens(self.norm1(x).transpose(0, 2, 1)).transpose(0, 2, 1)
        return x + self.channels(self.norm2(x))


class Mixer(nnx.Module):
    """2x2 patches, mixer blocks, mean over tokens and a linear classifier."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.patches = nnx.Conv(1, DIM, (2, 2), strides=(2, 2), padding="VALID", rngs=rngs)
        self.blocks = nnx.List([Block(rngs) for _ in range(DEPTH)])
        self.norm = nnx.LayerNorm(DIM, rngs=rngs)
        self.head = nnx.Linear(DIM, 10, rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        x = self.patches(image).reshape(image.shape[0], TOKENS, DIM)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(axis=1))


def loss_of(model: Mixer, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy with a little label smoothing."""
    target = optax.smooth_labels(jax.nn.one_hot(labels, 10), 0.05)
    return optax.softmax_cross_entropy(model(images), target).mean()


@nnx.jit
def step(model: Mixer, optimiser: nnx.Optimizer[Mixer], images: jax.Array, labels: jax.Array) -> jax.Array:
    """One update in place; returns the loss."""
    loss, grads = nnx.value_and_grad(loss_of)(model, images, labels)
    optimiser.update(model, grads)
    return loss


def train() -> Mixer:
    """Train a mixer with AdamW and a one-cycle rate."""
    split, rng = load_split(), np.random.default_rng(SEED)
    model = Mixer(nnx.Rngs(SEED))
    steps = EPOCHS * (len(split.train_x) // BATCH)
    schedule = optax.cosine_onecycle_schedule(steps, RATE)
    optimiser = nnx.Optimizer(model, optax.adamw(schedule, weight_decay=0.02), wrt=nnx.Param)
    for epoch in range(EPOCHS):
        losses = [
            step(model, optimiser, images[..., None], labels)
            for images, labels in epoch_batches(split.train_x, split.train_y, BATCH, rng)
        ]
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}", flush=True)
    return model


def main() -> None:
    """Train, export and publish the model."""
    model = train()
    to_onnx(
        model,
        [("batch", 8, 8, 1)],
        model_name=NAME,
        return_mode="file",
        output_path=OUT_DIR / f"{NAME}.onnx",
        input_names=["image"],
        output_names=["logits"],
    )
    publish(
        NAME,
        framework=Package("JAX (flax nnx)", "flax"),
        exporter=Package("jax2onnx", "jax2onnx"),
        architecture=(
            f"MLP-Mixer: 2x2 patches, {DEPTH} blocks of token mixing ({TOKENS} -> {TOKEN_HIDDEN}) "
            f"and channel mixing ({DIM} -> {CHANNEL_HIDDEN}) with GELU, mean pooling, linear head."
        ),
        scores="logits",
        to_input=lambda images: images[..., None],
    )


if __name__ == "__main__":
    main()
