"""Whether a folder is one model with what ships beside it, and which of its files are what."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from spa_cli.folders import configs, keys
from spa_cli.folders.configs import GENAI, HUGGING_FACE, Config
from spa_cli.runtime.foreign import begins_like_onnx

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class ModelFolder:
    """``model``: the only one in the folder; ``configs``: what says in numbers how wide it is.

    ``cached``: it is given what went before.
    """

    path: Path
    model: Path
    configs: tuple[Config, ...]
    cached: bool = False

    @property
    def tokenizer(self) -> Path | None:
        """The folder's own, for text."""
        path = self.path / TOKENIZER
        return path if path.is_file() else None


def folder_of(model: object) -> ModelFolder | None:
    """The folder that a path names; ``None`` for a model that is a file, or from memory."""
    return model_folder(Path(model)) if isinstance(model, str | os.PathLike) else None


def model_folder(path: Path) -> ModelFolder | None:
    """The folder, if it holds one model, and beside it a configuration with numbers that the model has.

    Anything else is a folder of models, however many. Nothing is raised: what can't be read is for whoever opens it.
    """
    try:
        models = [file for file in sorted(path.rglob("*.onnx")) if file.is_file()] if path.is_dir() else []
    except OSError:
        return None
    if len(models) != 1 or models[0].parent != path:
        return None
    found = [configs.read(path / name, keys.KNOWN) for name in (HUGGING_FACE, GENAI)]
    of_it = [config for config in found if config is not None and _names(config, models[0].name)]
    graph = _graph(models[0]) if of_it else None
    if graph is None:
        return None
    widths = _widths(graph)
    of_it = [config for config in of_it if config.first(keys.RESIDUAL) in widths]
    cached = any("past" in info.name for info in graph.input)
    return ModelFolder(path, models[0], tuple(of_it), cached) if of_it else None


def _names(config: Config, model: str) -> bool:
    """Whether it speaks of the model: onnxruntime-genai's says which file that is."""
    return config.file != GENAI or config.said.get("filename") == model


def _graph(path: Path) -> onnx.GraphProto | None:
    try:
        return (
            onnx.load(str(path), load_external_data=False, format="protobuf").graph if begins_like_onnx(path) else None
        )
    except (OSError, DecodeError, ValueError, RuntimeError):
        return None


def _widths(graph: onnx.GraphProto) -> set[int | None]:
    """Sizes of all axes of all weights; blocks of quantised ones stand in axes of their own."""
    shapes = [tuple(tensor.dims) for tensor in graph.initializer]
    return {d for shape in shapes for d in shape} | {math.prod(shape[1:]) for shape in shapes}
