"""onnxruntime and onnx's checker, behind the few calls the rest needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnxruntime as ort
from onnx.external_data_helper import uses_external_data

from spa_cli.errors import UsageError
from spa_cli.graph.external import read_in
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.source import Source
from spa_cli.runtime.providers import CPU, chosen
from spa_cli.runtime.said import said
from spa_cli.runtime.timed import asked
from spa_cli.runtime.widened import Widened

ort.set_default_logger_severity(4)

Feeds = dict[str, Any]


# what onnxruntime can open; only a file and a source find external data
Openable: TypeAlias = Source | onnx.ModelProto | str | Widened
# the session option that says where the external data of a model from memory lies
DATA_FOLDER = "session.model_external_initializers_file_folder_path"

# elements of a weight that the checker may see: lists of sizes, axes
_SMALL = 1024
_LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def openable(source: Source) -> str | onnx.ModelProto:
    """What to open for a source: its file, which finds its external data, or the model as it was given."""
    if source.path is not None and source.given is None:
        return str(source.path)
    return source.given or source.model


def open_session(
    model: Openable,
    level: str = "none",
    large: bool = False,
    providers: tuple[str, ...] = CPU,
    arena: bool = True,
    timed: bool = False,
    threads: int | None = None,
    folder: str = "",
) -> ort.InferenceSession:
    """A session on a file, or on a model in memory; raises what onnxruntime raises.

    ``large``: weights stay in their file, mapped into memory, where onnxruntime would pack a copy of each. ``arena``:
    what a run takes is kept for the next one. ``timed``: it waits as a user's session would, which is fastest.
    ``threads``: how many compute (``None``: as was asked for where it is timed, else as onnxruntime would).
    ``folder``: where the external data of a model from memory lies.
    """
    kind: type[ort.InferenceSession] = ort.InferenceSession
    if isinstance(model, Widened):
        kind, model = model.session, model.model
    options = ort.SessionOptions()
    if timed and threads is None:
        threads = asked().threads
    if threads is not None:
        options.intra_op_num_threads = threads
    if large:
        options.add_session_config_entry("session.disable_prepacking", "1")
    options.enable_cpu_mem_arena = arena
    if not timed:
        # threads that spin while they wait take the cores from whatever else computes, NumPy and other processes
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    # whatever it is called
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.graph_optimization_level = _LEVELS[level]
    opened = openable(model) if isinstance(model, Source) else model
    if isinstance(model, Source):
        folder = model.folder
    if folder and not isinstance(opened, str):
        options.add_session_config_entry(DATA_FOLDER, folder)
    what: Any = opened.SerializeToString() if isinstance(opened, onnx.ModelProto) else opened
    try:
        return _opened(what, options, providers, kind)
    except UsageError:
        raise
    except Exception:
        if level != "none":
            raise
        # some operators only exist as fused kernels: they need the optimiser
        options.graph_optimization_level = _LEVELS["all"]
        return _opened(what, options, providers, kind)


def graph_session(
    graph: Graph, model: Openable | None = None, level: str = "none", arena: bool = True
) -> ort.InferenceSession:
    """A session on a graph, or on a model that was made of its ``to_run()``, on the providers in force.

    Of weights that stay in their files no copies are made.
    """
    mapped = graph.mapped
    level = "none" if mapped else level
    return open_session(model or graph.to_run(), level, mapped, chosen(), arena, folder=graph.folder)


def silent_session(
    what: str | bytes,
    options: ort.SessionOptions,
    providers: Sequence[str],
    kind: type[ort.InferenceSession] = ort.InferenceSession,
) -> ort.InferenceSession:
    """A session that tries no other providers where these fail: onnxruntime would say so on standard output."""
    return kind(what, options, providers=list(providers), enable_fallback=0)


def _opened(
    what: Any, options: ort.SessionOptions, providers: tuple[str, ...], kind: type[ort.InferenceSession]
) -> ort.InferenceSession:
    try:
        session = silent_session(what, options, providers, kind)
    except Exception as error:
        if providers[0] in CPU:
            raise
        # raises what is the model's own fault
        silent_session(what, options, CPU)
        raise UsageError(
            f"{providers[0]} can't take the model ({said(error)}); use another provider, or leave --provider out"
        ) from error
    # onnxruntime itself says nothing when a provider does not load
    if session.get_providers()[0] != providers[0]:
        raise UsageError(
            f"{providers[0]} does not load here, onnxruntime would compute on {session.get_providers()[0]}; install "
            "what it needs, or leave --provider out"
        )
    return session


def graph_verdict(model: onnx.ModelProto, folder: str, full: bool = False) -> str | None:
    """What onnx's checker objects to in the graph; large weights stand in as inputs, so that none is copied.

    So do those in files (in ``folder``), which it would not take from links.
    """
    light = onnx.ModelProto(ir_version=max(model.ir_version, 4))
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.output.extend(model.graph.output)
    declared = {v.name for v in model.graph.input}
    light.graph.input.extend(model.graph.input)
    for tensor in model.graph.initializer:
        if not uses_external_data(tensor) and math.prod(tensor.dims) <= _SMALL:
            light.graph.initializer.append(tensor)
        elif tensor.name not in declared:
            shape = list(tensor.dims)
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, shape))
    light.graph.sparse_initializer.extend(model.graph.sparse_initializer)
    inputs = {v.name for v in light.graph.input}
    light.graph.value_info.extend(v for v in model.graph.value_info if v.name not in inputs)
    # of those inside bodies and attributes there are few
    read_in(light, folder)
    return checker_verdict(light, full=full)


def checker_verdict(model: Openable, full: bool) -> str | None:
    """What onnx's checker objects to, ``None`` if nothing."""
    if isinstance(model, Widened):
        model = model.model
    if isinstance(model, Source) and model.external:
        given = model.given or onnx.load(str(model.path), load_external_data=False, format="protobuf")
        return graph_verdict(given, model.folder, full)
    what: Any = openable(model) if isinstance(model, Source) else model
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
