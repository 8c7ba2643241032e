"""The inputs a model is verified on, and what the original gives for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from spa_cli.errors import ModelError, UsageError
from spa_cli.graph.known import Shapes
from spa_cli.graph.model import Graph
from spa_cli.graph.source import Source
from spa_cli.runtime.made_up import synthetic
from spa_cli.runtime.room import too_large
from spa_cli.runtime.said import mend, said
from spa_cli.runtime.session import Feeds, open_session, run


def first_run(
    source: Source,
    graph: Graph,
    known: Shapes,
    shapes: Iterable[Mapping[str, tuple[int, ...]]],
    given: Feeds | None,
    seed: int = 0,
) -> tuple[Feeds, list[Any]]:
    """(inputs, outputs) of one run of the original: on the ``given`` ones, else on synthetic ones of these ``shapes``.

    ``known``: what is known of its tensors at the first of those. Raises ModelError if onnxruntime can't load it or no
    inputs make it run, UsageError if the given ones don't.
    """
    if why := too_large(graph, known):
        raise ModelError(f"'{source.name}' can't be run here: {why}; give --input-shape, or run it on a larger machine")
    try:
        session = open_session(source, large=source.external)
    except Exception as error:
        raise ModelError(f"onnxruntime can't load '{source.name}': {said(error)}; {mend(error)}") from error
    failed: Exception | None = None
    tried: list[Mapping[str, tuple[int, ...]]] = []
    for each in [{}] if given is not None else shapes:
        tried.append(each)
        try:
            feeds = synthetic(graph, dict(each), seed) if given is None else given
            return feeds, run(session, feeds)
        except Exception as error:  # noqa: BLE001 - onnxruntime's kinds are its own
            failed = failed or error
    why = "there are none" if failed is None else said(failed)
    if given is not None:
        raise UsageError(
            f"'{source.name}' does not run on the calibration data ({why}); give samples it takes"
        ) from failed
    raise ModelError(
        f"'{source.name}' does not run on synthetic inputs{_sizes(tried)} ({why}); give --input-shape or --calib"
    ) from failed


def _sizes(tried: Sequence[Mapping[str, tuple[int, ...]]]) -> str:
    """What was tried, told by the input that came in the most shapes; "" where there was nothing to choose."""
    kinds = {name: list(dict.fromkeys(shapes[name] for shapes in tried)) for name in (tried[0] if tried else ())}
    name = max(kinds, key=lambda name: len(kinds[name]), default="")
    if len(tried) < 2 or len(kinds[name]) < 2:
        return ""
    *most, last = ["x".join(map(str, shape)) for shape in kinds[name]]
    return f", '{name}' of {', '.join(most)} and {last}"


def shapes_of(feeds: Feeds) -> dict[str, tuple[int, ...]]:
    """Shapes of inputs."""
    return {name: np.shape(value) for name, value in feeds.items()}
