"""What onnxruntime says where it was not expected to fail any more, as a sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from spa_cli.errors import ModelError, first_line


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """Raise ModelError, which names the model, for what onnxruntime raises in a model that it has run before."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime."):
            raise
        raise ModelError(
            f"onnxruntime runs '{name}' on some inputs and fails on others: {first_line(error)}; give --calib with "
            "samples that it takes"
        ) from error
