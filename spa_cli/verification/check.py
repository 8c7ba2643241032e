"""Verification: the same signature, valid, runs; how far outputs moved; removing equals zeroing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from spa_cli.errors import VerificationError
from spa_cli.graph.model import Graph
from spa_cli.graph.source import Source
from spa_cli.graph.states import State
from spa_cli.graph.view import build
from spa_cli.runtime.said import said
from spa_cli.runtime.session import Feeds, Openable, checker_verdict, floats, open_session, run, shape_of
from spa_cli.runtime.timing import Timing as Timing  # where they were first, for those who import them from here
from spa_cli.runtime.timing import latency as latency
from spa_cli.runtime.widened import Plain, Widened, as_is
from spa_cli.surgery.cut import Cut
from spa_cli.verification.drift import Drift as Drift  # where it was first, for those who import it from here
from spa_cli.verification.loop import loop_differs
from spa_cli.verification.zeroed import zeroed_session


def signature(model: onnx.ModelProto, states: Sequence[State] = ()) -> dict[str, object]:
    """Names, types and declared shapes of what is fed and fetched; ``states``: once those have lost channels."""
    shrunk = {name: state for state in states for name in state.names}

    def form(info: onnx.ValueInfoProto) -> Any:
        kind = info.type
        if info.name in shrunk and kind.tensor_type.HasField("shape"):
            kind = onnx.TypeProto.FromString(kind.SerializeToString())
            for axis, kept in shrunk[info.name].kept.items():
                kind.tensor_type.shape.dim[axis].Clear()
                kind.tensor_type.shape.dim[axis].dim_value = len(kept)
        return kind.SerializeToString(deterministic=True)

    fixed = {t.name for t in model.graph.initializer} | {s.values.name for s in model.graph.sparse_initializer}
    return {
        "inputs": {v.name: form(v) for v in model.graph.input if v.name not in fixed},
        "outputs": {v.name: form(v) for v in model.graph.output},
    }


def verify_file(
    path: Openable,
    original: onnx.ModelProto,
    checked: tuple[bool, bool],
    reference: list[Any],
    feeds: Feeds,
    large: bool = False,
    free: Mapping[str, set[int]] = {},
) -> list[Any]:
    """Raise VerificationError unless the model at ``path`` is as good as the original; give its outputs on ``feeds``.

    ``checked``: whether the original passes onnx's checker with and without strict shape inference (what it
    did not pass is not asked of the result). ``large``: its weights stay in their file. ``free``: axes of outputs whose
    size the data decide (how many boxes pass a threshold).
    """
    verify_form(path, original, checked)
    try:
        outputs = run(open_session(path, large=large), feeds)
    except Exception as error:
        raise VerificationError(f"onnxruntime can't run the result: {said(error)}") from error
    for info, a, b in zip(original.graph.output, reference, outputs, strict=True):
        if fixed(shape_of(a), free.get(info.name)) != fixed(shape_of(b), free.get(info.name)):
            raise VerificationError(f"output '{info.name}' of the result has shape {shape_of(b)}, not {shape_of(a)}")
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.dtype != b.dtype:
            raise VerificationError(f"output '{info.name}' of the result has type {b.dtype}, not {a.dtype}")
    for info, old, new in zip(original.graph.output, reference, outputs, strict=True):
        for a, b in zip(floats([old]), floats([new]), strict=True):
            if np.isfinite(a).all() and not np.isfinite(b).all():
                raise VerificationError(f"output '{info.name}' of the result is not finite")
    return outputs


def _as_read(model: Plain) -> onnx.ModelProto:
    if isinstance(model, Source):
        return model.model
    return onnx.load(model, load_external_data=False, format="protobuf") if isinstance(model, str) else model


def verify_form(path: Openable, original: onnx.ModelProto, checked: tuple[bool, bool]) -> onnx.ModelProto:
    """What ``verify_file`` asks before it runs anything; the model at ``path``, its external data left where it is."""
    pruned, states = _as_read(as_is(path)), path.states if isinstance(path, Widened) else ()
    # an output may be there twice
    if signature(pruned) != signature(original, states) or len(pruned.graph.output) != len(original.graph.output):
        raise VerificationError("the inputs or outputs of the result are not those of the original")
    full, plain = checked
    verdict = checker_verdict(path, full=full) if plain else None
    if verdict is not None:
        raise VerificationError(f"onnx's checker rejects the result: {said(verdict)}")
    return pruned


def fixed(shape: tuple[Any, ...], free: set[int] | None) -> tuple[Any, ...]:
    """A shape without the sizes on axes whose size the data decide."""
    return tuple(-1 if i in (free or ()) else d for i, d in enumerate(shape))


def zeroing_differs(
    graph: Graph, work: Cut, feeds: Feeds, pruned: Plain | None = None, beside: Path | None = None
) -> str | None:
    """Zero what was removed in the original, run both: a sentence if the outputs differ, else ``None``.

    The foundation of everything else (exact groups only): the cut model must compute what the whole model does with
    the removed channels set to zero, over several steps where states lost channels. ``pruned``: another model to
    compare, not the one that was just cut. ``beside``: where there is room for a copy of a large model.
    """
    try:
        with zeroed_session(graph, work, beside) as left:
            cut = build(work.model, work.folder)
            right = open_session(pruned or cut.to_run(), large=graph.mapped, folder=work.folder)
            return loop_differs(graph, work, left, right, feeds)
    except Exception as error:  # noqa: BLE001 - whatever onnxruntime raises, the cut did not survive
        return f"onnxruntime can't run the result: {said(error)}"
