"""Networks that are opened where they are first run, so that they can go to another process before."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from spa_cli.engines.pool import pool
from spa_cli.graph.model import Array, Graph
from spa_cli.runtime.interpreter import Interpreter
from spa_cli.runtime.providers import chosen, running_on
from spa_cli.runtime.session import open_session
from spa_cli.runtime.store import Kept
from spa_cli.runtime.stretches import Stretch

# a worker may have several threads, and a network is at one chunk at a time
_one = threading.Lock()


class _Model:
    """A model that goes as bytes; where nothing goes anywhere it is not kept once it has been opened."""

    def __init__(self, graph: Graph, model: onnx.ModelProto) -> None:
        self._model: onnx.ModelProto | None = model
        self._folder, self._mapped, self._providers = graph.folder, graph.mapped, chosen()
        self._travels = pool().spread
        self._opened: Any = None

    def __getstate__(self) -> dict[str, Any]:
        assert self._model is not None
        return {**vars(self), "_model": self._model.SerializeToString(), "_opened": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _model=onnx.load_model_from_string(state["_model"]))


class Portable(_Model):
    """A session on a model of a graph's weights, as ``graph_session`` opens it."""

    def __init__(self, graph: Graph, model: onnx.ModelProto, level: str = "none", arena: bool = True) -> None:
        super().__init__(graph, model)
        self._level, self._arena = "none" if graph.mapped else level, arena

    def open(self) -> None:
        """Make ready to run, once; raises what onnxruntime raises."""
        with _one:
            if self._opened is None:
                assert self._model is not None
                how = (self._level, self._mapped, self._providers, self._arena)
                self._opened = open_session(self._model, *how, folder=self._folder)
                self._model = self._model if self._travels else None

    def run(self, names: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """Values of these outputs; raises what onnxruntime raises."""
        self.open()
        found: list[Any] = self._opened.run(list(names), dict(feeds))
        return found


class InParts(_Model):
    """A network that is run stretch by stretch, on any chunk of samples."""

    def __init__(self, graph: Graph, parts: Sequence[Stretch]) -> None:
        super().__init__(graph, graph.model)
        self._parts, self._last = parts, -1

    def run(self, number: int, chunk: dict[str, Array], before: Mapping[str, Kept]) -> dict[str, Any]:
        """What a stretch fetches for a chunk, of which the one before left ``before``."""
        names = self._parts[number].names
        with _one, running_on(self._providers):
            if self._opened is None:
                assert self._model is not None
                self._opened = Interpreter(self._model, self._folder, [chunk])
            self._opened.take(chunk, before, anew=number != self._last)
            self._last = number
            return dict(zip(names, self._opened.peek(names, 0), strict=True))
