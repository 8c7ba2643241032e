"""onnxruntime and onnx's checker, behind the few calls the rest needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from spa_cli.errors import UsageError
from spa_cli.graph.model import Array
from spa_cli.graph.source import Source
from spa_cli.runtime.providers import CPU

ort.set_default_logger_severity(4)

Feeds = dict[str, Any]

_LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def openable(source: Source) -> str | onnx.ModelProto:
    """What to open for a source: its file, which finds its external data, or the model as it was given."""
    return str(source.path) if source.path else source.given or source.model


def open_session(
    model: Source | onnx.ModelProto | str,
    level: str = "none",
    large: bool = False,
    providers: tuple[str, ...] = CPU,
    arena: bool = True,
    timed: bool = False,
    threads: int | None = None,
) -> ort.InferenceSession:
    """A session on a file, or on a model in memory; raises what onnxruntime raises.

    ``large``: weights stay in their file, mapped into memory, where onnxruntime would pack a copy of each. ``arena``:
    what a run takes is kept for the next one. ``timed``: it waits as a user's session would, which is fastest.
    ``threads``: how many compute (``None``: as onnxruntime would).
    """
    options = ort.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    if large:
        options.add_session_config_entry("session.disable_prepacking", "1")
    options.enable_cpu_mem_arena = arena
    if not timed:
        # threads that spin while they wait take the cores from whatever else computes, NumPy and other processes
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    options.graph_optimization_level = _LEVELS[level]
    opened = model if isinstance(model, (onnx.ModelProto, str)) else openable(model)
    what: Any = opened.SerializeToString() if isinstance(opened, onnx.ModelProto) else opened
    try:
        return _opened(what, options, providers)
    except UsageError:
        raise
    except Exception:
        if level != "none":
            raise
        # some operators only exist as fused kernels: they need the optimiser
        options.graph_optimization_level = _LEVELS["all"]
        return _opened(what, options, providers)


def _opened(what: Any, options: ort.SessionOptions, providers: tuple[str, ...]) -> ort.InferenceSession:
    session = ort.InferenceSession(what, options, providers=list(providers))
    # onnxruntime itself says nothing when a provider does not load
    if session.get_providers()[0] != providers[0]:
        raise UsageError(
            f"{providers[0]} does not load here, onnxruntime would compute on {session.get_providers()[0]}; install "
            "what it needs, or leave --provider out"
        )
    return session


def graph_verdict(model: onnx.ModelProto) -> str | None:
    """What onnx's checker objects to in the graph; weights stand in as inputs, so that none is copied."""
    light = onnx.ModelProto(ir_version=max(model.ir_version, 4))
    light.opset_import.extend(model.opset_import)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.output.extend(model.graph.output)
    declared = {v.name for v in model.graph.input}
    light.graph.input.extend(model.graph.input)
    for tensor in model.graph.initializer:
        if tensor.name not in declared:
            shape = list(tensor.dims)
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, shape))
    return checker_verdict(light, full=False)


def checker_verdict(model: Source | onnx.ModelProto | str, full: bool) -> str | None:
    """What onnx's checker objects to, ``None`` if nothing."""
    what: Any = model if isinstance(model, (str, onnx.ModelProto)) else openable(model)
    try:
        onnx.checker.check_model(what, full_check=full)
    except Exception as error:  # noqa: BLE001 - the checker raises several unrelated kinds; all are verdicts
        return str(error) or type(error).__name__
    return None


def passes_checker(model: Source) -> tuple[bool, bool]:
    """Whether onnx's checker accepts a model with and without strict shape inference."""
    full = checker_verdict(model, full=True) is None
    return full, full or checker_verdict(model, full=False) is None


def run(session: ort.InferenceSession, feeds: Feeds) -> list[Any]:
    """Outputs for the inputs the session has."""
    names = {i.name for i in session.get_inputs()}
    results: list[Any] = session.run(None, {k: v for k, v in feeds.items() if k in names})
    return results


def tensors(outputs: list[Any]) -> list[Any]:
    """Outputs with those of lists one by one."""
    return [t for o in outputs for t in (o if isinstance(o, list) else [o])]


def shape_of(output: Any) -> tuple[Any, ...]:
    """Shape of an output, of each of its tensors if it is a list (a map has none)."""
    return tuple(map(shape_of, output)) if isinstance(output, list) else np.shape(output)


def floats(outputs: list[Any]) -> list[Array]:
    """The floating-point tensors in outputs, as float64, and the values of maps (class: probability)."""
    found = []
    for output in tensors(outputs):
        if isinstance(output, np.ndarray) and (output.dtype.kind == "f" or output.dtype.name == "bfloat16"):
            found.append(np.asarray(output, np.float64))
        elif isinstance(output, dict) and all(isinstance(v, float) for v in output.values()):
            found.append(np.array(list(output.values()), np.float64))
    return found
