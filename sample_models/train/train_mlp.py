"""Train digits_mlp.onnx: a scikit-learn pipeline of scaler and MLP, through skl2onnx."""

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from digits import SEED, Array, augment, load_split
from publishing import OUT_DIR, Package, publish

NAME = "digits_mlp"
COPIES = 20


def flat(images: Array) -> Array:
    """Images as rows of 64 features."""
    return images.reshape(len(images), -1)


def main() -> None:
    """Train, export and publish the model."""
    split, rng = load_split(), np.random.default_rng(SEED)
    copies = [split.train_x, *(augment(split.train_x, rng) for _ in range(COPIES))]
    model = make_pipeline(
        StandardScaler(),
        MLPClassifier((128, 64), alpha=0.001, batch_size=100, tol=0.001, n_iter_no_change=5, random_state=SEED),
    )
    model.fit(flat(np.concatenate(copies)), np.tile(split.train_y, len(copies)))
    exported = to_onnx(
        model,
        initial_types=[("pixels", FloatTensorType([None, 64]))],
        options={"zipmap": False},
    )
    (OUT_DIR / f"{NAME}.onnx").write_bytes(exported.SerializeToString())
    publish(
        NAME,
        framework=Package("scikit-learn", "scikit-learn"),
        exporter=Package("skl2onnx", "skl2onnx"),
        architecture="StandardScaler and an MLP with ReLU layers of 128 and 64 on 64 pixels.",
        scores="probabilities",
        to_input=flat,
    )


if __name__ == "__main__":
    main()
