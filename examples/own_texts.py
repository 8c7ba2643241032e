"""Let a language model write the texts that a pruned one is trained on.

    python examples/own_texts.py MODEL.onnx OUT.npz [--count 2048] [--length 128] [--first 1] [--beside CALIB.npz]

Token by token from the model's own probabilities, after the token ``--first`` (that of the beginning), on the CPU and
without a cache: for small models. Texts in ``--beside`` come first, of as many tokens. The model takes tokens (samples,
positions) and gives scores of the next one; then

    spa tune small.onnx --teacher MODEL.onnx --plan plan.json --calib OUT.npz --samples 2304 -o tuned.onnx
"""

from __future__ import annotations

import argparse

import numpy as np
import onnxruntime as ort

AT_ONCE = 256


def written(session: ort.InferenceSession, count: int, length: int, first: int, rng: np.random.Generator) -> np.ndarray:
    """Tokens (count, length)."""
    (taken,) = session.get_inputs()
    texts = np.full((count, 1), first, np.int64)
    while texts.shape[1] < length:
        scores = session.run(None, {taken.name: texts})[0][:, -1].astype(np.float64)
        so_far = np.exp(scores - scores.max(1, keepdims=True)).cumsum(1)
        drawn = (rng.random((count, 1)) * so_far[:, -1:] < so_far).argmax(1)
        texts = np.concatenate([texts, drawn[:, None]], 1)
    return texts


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--count", type=int, default=2048)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--beside")
    given = parser.parse_args()
    session, rng = ort.InferenceSession(given.model, providers=["CPUExecutionProvider"]), np.random.default_rng(0)
    sizes = [min(AT_ONCE, given.count - at) for at in range(0, given.count, AT_ONCE)]
    texts = [written(session, size, given.length, given.first, rng) for size in sizes]
    if given.beside:
        (known,) = np.load(given.beside).values()
        texts.insert(0, known)
    np.savez(given.out, **{session.get_inputs()[0].name: np.concatenate(texts)})


if __name__ == "__main__":
    main()
