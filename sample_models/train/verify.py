"""Check every committed sample model: valid, self-contained, any batch size, stated accuracy.

Needs only onnx, onnxruntime, numpy and scikit-learn (any of the requirements files).
"""

import json

from publishing import MANIFEST, OUT_DIR, measure


def main() -> None:
    """Measure each model in the manifest again and compare."""
    for name, entry in json.loads(MANIFEST.read_text()).items():
        accuracy = measure(OUT_DIR / entry["file"], entry["scores_output"])
        if abs(accuracy - entry["test_accuracy"]) > 0.002:
            raise SystemExit(f"{name}: {accuracy:.4f}, but {entry['test_accuracy']} in the manifest")
        print(f"{name:18} {accuracy:.4f} of {entry['test_images']} test images")


if __name__ == "__main__":
    main()
