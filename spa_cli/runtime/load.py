"""Reading an ONNX file, with every way that can fail said in one sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx.external_data_helper import uses_external_data

from spa_cli.errors import ModelError
from spa_cli.graph.bodies import name_apart
from spa_cli.graph.duplicates import check_duplicates, without_duplicates
from spa_cli.graph.external import find_beside
from spa_cli.graph.foreign import foreign_operators, set_apart
from spa_cli.graph.functions import check_functions
from spa_cli.graph.source import Source
from spa_cli.graph.stored import check_stored, every_tensor
from spa_cli.graph.utf8 import check_text
from spa_cli.options.words import path_of
from spa_cli.runtime.fold import fold
from spa_cli.runtime.foreign import begins_like_onnx, recognised
from spa_cli.runtime.said import mend, said
from spa_cli.runtime.session import checker_verdict, graph_verdict, open_session
from spa_cli.text import is_utf8

Model: TypeAlias = str | os.PathLike[str] | onnx.ModelProto

# above this, the checker sees the graph without its weights
_LARGE = 50_000_000


def load(model: Model) -> Source:
    """Read a model from a path or take one from memory; weights in external files stay there until needed.

    Raises OptionError for what is neither, ModelError if it is missing, unreadable or invalid.
    """
    source = _given(model) if isinstance(model, onnx.ModelProto) else _read(path_of(model, "a model"))
    check_duplicates(source.model.graph, source.folder, source.name)
    if source.model.functions:
        check_functions(source.model, source.name)
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
        raise not_onnx(path) or ModelError(f"'{path}' is not a file; give the path of an .onnx file")
    if not is_utf8(path):
        raise ModelError(f"the name '{path}' is not in UTF-8, so that onnxruntime can't open it; rename it")
    try:
        size = path.stat().st_size
        if size == 0:
            raise ModelError(f"'{path}' is empty; export the model again")
        # what is something else may be too large to be read for nothing
        model = onnx.load(str(path), load_external_data=False, format="protobuf") if begins_like_onnx(path) else None
    except OSError as error:
        raise ModelError(
            f"'{path}' can't be read: {error.strerror or error}; check the file and its permissions"
        ) from error
    except (DecodeError, ValueError, RuntimeError) as error:
        raise not_onnx(path) or _unknown(path) from error
    if model is None:
        raise not_onnx(path) or _unknown(path)
    if not model.HasField("graph") or not model.opset_import:
        raise not_onnx(path) or ModelError(f"'{path}' holds no ONNX graph; give the path of an .onnx file")
    check_text(model, path.name)
    check_stored(model, path.name)
    beside = find_beside(model, path)
    source = Source(model, path.name, str(beside.folder), path, size + beside.bytes, beside.files)
    if beside.linked:
        # what onnxruntime opens, with its data where the links lead to
        source.given = _copy(model)
    return source


def not_onnx(path: Path) -> ModelError | None:
    """The refusal of a file, or of a folder, that is a model of another kind, or no model; ``None`` if unknown."""
    found = recognised(path)
    return None if found is None else ModelError(f"'{path}' is {found[0]}, and no ONNX model; {found[1]}")


def _unknown(path: Path) -> ModelError:
    return ModelError(f"'{path}' is not an ONNX model, or is cut short; export or download it again")


def _given(model: onnx.ModelProto) -> Source:
    check_text(model, "model")
    for name, tensor in every_tensor(model):
        if uses_external_data(tensor):
            raise ModelError(
                f"tensor '{name}' lies in an external file, but the model was given from memory; give a path"
            )
    check_stored(model, "model")
    return Source(model, "model", bytes=model.ByteSize())


def _inline(source: Source) -> onnx.ModelProto:
    source.warnings.append(f"{len(source.model.functions)} local functions were inlined")
    try:
        return onnx.inliner.inline_local_functions(source.model)
    except Exception as error:
        raise ModelError(
            f"the local functions of '{source.name}' can't be inlined: {error}; export the model without them"
        ) from error


def _with_names_apart(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = _copy(model)
    name_apart(copy.graph)
    return copy


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _check_valid(source: Source) -> None:
    """What neither onnx's checker nor onnxruntime accepts is invalid; what one of them accepts is used every day."""
    light = source.bytes > _LARGE and not source.model.graph.sparse_initializer
    verdict = graph_verdict(source.model, source.folder) if light else checker_verdict(source, full=False)
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
        raise ModelError(f"'{source.name}' is not a valid ONNX model: {said(verdict)}; {mend(verdict)}") from error
    source.warnings.append(f"onnx's checker rejects this file, onnxruntime runs it: {said(verdict)}")


def _valid_but_for_those(source: Source, light: bool) -> bool:
    """Whether the checker accepts all but the operators that onnx doesn't have."""
    apart = set_apart(source.model)
    found = graph_verdict(apart, source.folder) if light or source.external else checker_verdict(apart, full=False)
    return found is None
