"""Reading an ONNX file, with every way that can fail said in one sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from spa_cli.errors import ModelError, first_line
from spa_cli.graph.bodies import name_apart
from spa_cli.graph.duplicates import check_duplicates, without_duplicates
from spa_cli.graph.foreign import foreign_operators, set_apart
from spa_cli.graph.parameters import inner_tensors
from spa_cli.graph.source import Source
from spa_cli.runtime.fold import fold
from spa_cli.runtime.session import checker_verdict, graph_verdict, open_session

Model: TypeAlias = str | os.PathLike[str] | onnx.ModelProto

# above this, the checker sees the graph without its weights
_LARGE = 50_000_000


def load(model: Model) -> Source:
    """Read a model from a path or take one from memory; weights in external files stay there until needed.

    Raises ModelError if it is missing, unreadable or invalid.
    """
    if isinstance(model, onnx.ModelProto):
        source = Source(model, "model", bytes=model.ByteSize())
    else:
        source = _read(Path(model))
    _check_external(source)
    check_duplicates(source.model.graph, source.folder, source.name)
    if source.model.functions:
        source.model = _inline(source)
    if any(a.HasField("g") for n in source.model.graph.node for a in n.attribute):
        source.model = _with_names_apart(source.model)
    _check_valid(source)
    source.model = without_duplicates(source.model)
    fold(source)
    return source


def _read(path: Path) -> Source:
    if not path.exists():
        raise ModelError(f"there is no file '{path}'; give the path of an .onnx file")
    if not path.is_file():
        raise ModelError(f"'{path}' is not a file; give the path of an .onnx file")
    try:
        size = path.stat().st_size
        if size == 0:
            raise ModelError(f"'{path}' is empty; export the model again")
        model = onnx.load(str(path), load_external_data=False, format="protobuf")
    except OSError as error:
        raise ModelError(
            f"'{path}' can't be read: {error.strerror or error}; check the file and its permissions"
        ) from error
    except (DecodeError, ValueError, RuntimeError) as error:
        raise ModelError(f"'{path}' is not an ONNX model, or is cut short; export or download it again") from error
    if not model.HasField("graph") or not model.opset_import:
        raise ModelError(f"'{path}' holds no ONNX graph; give the path of an .onnx file")
    return Source(model, path.name, str(path.resolve().parent), path, size)


def _check_external(source: Source) -> None:
    """External data has to lie inside the model's own folder and be as long as it says."""
    root = Path(source.folder or ".").resolve()
    seen: dict[Path, int] = {}
    for tensor in (*source.model.graph.initializer, *inner_tensors(source.model.graph)):
        if not uses_external_data(tensor):
            continue
        if source.path is None:
            raise ModelError(
                f"tensor '{tensor.name}' lies in an external file, but the model was given from memory; give a path"
            )
        info = ExternalDataInfo(tensor)
        place = (root / info.location).resolve()
        if os.path.isabs(info.location) or not place.is_relative_to(root):
            raise ModelError(
                f"tensor '{tensor.name}' points outside the model's folder ('{info.location}'), "
                "where nothing is read; save the model with its data beside it"
            )
        if place not in seen:
            if not place.is_file():
                raise ModelError(
                    f"the external data file '{info.location}' of tensor '{tensor.name}' is missing; put it in '{root}'"
                )
            seen[place] = place.stat().st_size
        if (info.offset or 0) + (info.length or 0) > seen[place]:
            raise ModelError(
                f"the external data file '{info.location}' is too short for tensor '{tensor.name}'; copy it again"
            )
    source.bytes += sum(seen.values())
    source.data_files = tuple(seen)


def _inline(source: Source) -> onnx.ModelProto:
    source.warnings.append(f"{len(source.model.functions)} local functions were inlined")
    try:
        return onnx.inliner.inline_local_functions(source.model)
    except Exception as error:
        raise ModelError(
            f"the local functions of '{source.name}' can't be inlined: {error}; export the model without them"
        ) from error


def _with_names_apart(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    name_apart(copy.graph)
    return copy


def _check_valid(source: Source) -> None:
    """What neither onnx's checker nor onnxruntime accepts is invalid; what one of them accepts is used every day."""
    light = source.bytes > _LARGE and not source.model.graph.sparse_initializer
    verdict = graph_verdict(source.model) if light else checker_verdict(source, full=False)
    if verdict is None:
        return
    try:
        open_session(source)
    except Exception as error:
        strange = foreign_operators(source.model)
        if strange and _valid_but_for_those(source, light):
            names = ", ".join(strange[:3]) + (" and others" if len(strange) > 3 else "")
            source.warnings.append(f"onnx has no operator {names}, and accepts the rest of this file")
            return
        raise ModelError(
            f"'{source.name}' is not a valid ONNX model: {first_line(verdict)}; export it again"
        ) from error
    source.warnings.append(f"onnx's checker rejects this file, onnxruntime runs it: {first_line(verdict)}")


def _valid_but_for_those(source: Source, light: bool) -> bool:
    """Whether the checker accepts all but the operators that onnx doesn't have."""
    apart = set_apart(source.model)
    found = graph_verdict(apart) if light or source.external else checker_verdict(apart, full=False)
    return found is None
