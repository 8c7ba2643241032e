"""Train digits_mobilenet.onnx: a small mobile network in Keras (NHWC), through tf2onnx."""

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from keras import layers

from digits import SEED, Array, augment, load_split
from publishing import OUT_DIR, Package, publish

NAME = "digits_mobilenet"
BLOCKS = ((16, 1), (24, 2), (24, 1), (40, 2), (40, 1))
EXPAND, HEAD = 3, 96
EPOCHS, BATCH, RATE = 60, 60, 0.006


class Augmented(keras.utils.PyDataset):
    """Shuffled, augmented training batches with one-hot labels."""

    def __init__(self) -> None:
        super().__init__()
        self.split, self.rng = load_split(), np.random.default_rng(SEED)
        self.order = self.rng.permutation(len(self.split.train_x))

    def __len__(self) -> int:
        return len(self.order) // BATCH

    def __getitem__(self, index: int) -> tuple[Array, Array]:
        batch = self.order[index * BATCH : (index + 1) * BATCH]
        images = augment(self.split.train_x[batch], self.rng)
        return images[..., None], np.eye(10, dtype=np.float32)[self.split.train_y[batch]]

    def on_epoch_end(self) -> None:
        """Shuffle anew."""
        self.order = self.rng.permutation(len(self.split.train_x))


def normalised(x: keras.KerasTensor, layer: layers.Layer) -> keras.KerasTensor:
    """A convolution without bias, then batch normalisation."""
    return layers.BatchNormalization(momentum=0.9)(layer(x))


def squeeze_excite(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Scale the channels by a gate computed from their means."""
    width = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(name=f"{name}_squeeze")(x)
    gate = layers.Dense(width // 4, activation="relu", name=f"{name}_reduce")(gate)
    gate = layers.Dense(width, activation="sigmoid", name=f"{name}_excite")(gate)
    gate = layers.Reshape((1, 1, width), name=f"{name}_reshape")(gate)
    return layers.Multiply(name=f"{name}_scale")([x, gate])


def block(x: keras.KerasTensor, width: int, stride: int, name: str) -> keras.KerasTensor:
    """Expand, depthwise convolution, squeeze-and-excite, project; residual where shapes agree."""
    wide = EXPAND * x.shape[-1]
    y = normalised(x, layers.Conv2D(wide, 1, use_bias=False, name=f"{name}_expand"))
    y = layers.ReLU(6.0)(y)
    depthwise = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_depthwise")
    y = layers.ReLU(6.0)(normalised(y, depthwise))
    y = squeeze_excite(y, f"{name}_se")
    y = normalised(y, layers.Conv2D(width, 1, use_bias=False, name=f"{name}_project"))
    return layers.Add()([x, y]) if stride == 1 and x.shape[-1] == width else y


def build() -> keras.Model:
    """Stem, inverted residual blocks, 1x1 head convolution, pooling and a linear classifier."""
    image = keras.Input((8, 8, 1), name="image")
    stem = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")
    x = layers.ReLU(6.0)(normalised(image, stem))
    for index, (width, stride) in enumerate(BLOCKS):
        x = block(x, width, stride, f"block{index}")
    x = layers.ReLU(6.0)(normalised(x, layers.Conv2D(HEAD, 1, use_bias=False, name="head")))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10, name="logits")(x), name=NAME)


def main() -> None:
    """Train, export and publish the model."""
    keras.utils.set_random_seed(SEED)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    data = Augmented()
    schedule = keras.optimizers.schedules.CosineDecay(
        RATE / 10, EPOCHS * len(data), warmup_target=RATE, warmup_steps=5 * len(data)
    )
    model = build()
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.01),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.05),
    )
    model.fit(data, epochs=EPOCHS, shuffle=False, verbose=2)

    signature = [tf.TensorSpec((None, 8, 8, 1), tf.float32, name="image")]
    tf2onnx.convert.from_keras(model, signature, output_path=str(OUT_DIR / f"{NAME}.onnx"))
    publish(
        NAME,
        framework=Package("TensorFlow/Keras", "tensorflow-cpu"),
        exporter=Package("tf2onnx", "tf2onnx"),
        architecture=(
            "Mobile network in NHWC: stem, 5 inverted residual blocks (expand, depthwise, "
            "squeeze-and-excite, project), 1x1 head, global average pooling, linear head."
        ),
        scores="logits",
        to_input=lambda images: images[..., None],
    )


if __name__ == "__main__":
    main()
