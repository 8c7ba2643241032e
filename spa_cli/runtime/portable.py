"""Networks that are opened where they are first run, so that they can go to another process before."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from spa_cli.engines.pool import pool
from spa_cli.graph.model import Array, Graph
from spa_cli.runtime.interpreter import Interpreter
from spa_cli.runtime.providers import CPU, chosen, running_on
from spa_cli.runtime.session import open_session
from spa_cli.runtime.store import Kept
from spa_cli.runtime.stretches import Stretch

# bytes of a tensor that does not go with every network that reads it
_LARGE = 4096
# a worker may have several threads, and a network is at one chunk at a time
_one = threading.Lock()


class Weights:
    """Large tensors of a graph that goes elsewhere: once, for all the networks that are made of it."""

    def __init__(self, tensors: Sequence[onnx.TensorProto]) -> None:
        self.tensors = {t.name: t for t in tensors if t.ByteSize() > _LARGE}

    def __reduce__(self) -> tuple[Any, ...]:
        return _weights_again, ([t.SerializeToString() for t in self.tensors.values()],)


def _weights_again(tensors: Sequence[bytes]) -> Weights:
    return Weights([onnx.TensorProto.FromString(t) for t in tensors])


def weights_of(graph: Graph) -> Any:
    """What stands for the weights of a graph among the arguments of pieces: its networks go without them."""
    return pool().once(graph, _weights_in) if pool().spread else None


def _weights_in(graph: Graph) -> Weights:
    return Weights(graph.to_run().graph.initializer)


def _absolute(folder: str) -> str:
    # a worker may work elsewhere
    return os.path.abspath(folder) if folder else ""


class Portable:
    """A session on a model of a graph's weights, as ``graph_session`` opens it.

    It goes as bytes; where nothing goes anywhere the model is not kept once it has been opened. ``several``: runs are
    asked for.
    """

    def __init__(
        self, graph: Graph, model: onnx.ModelProto, level: str = "none", arena: bool = True, several: bool = False
    ) -> None:
        self._model: onnx.ModelProto | None = model
        # here several are made at the same time, each by one thread
        one = several and not pool().spread and bool(pool().under_way) and chosen() == CPU
        self._how = ("none" if graph.mapped else level, graph.mapped, chosen(), arena, False, 1 if one else None)
        self._folder, self._travels = _absolute(graph.folder), pool().spread
        self._opened: Any = None
        if self._travels:
            own, every = {t.name for t in graph.model.graph.initializer}, list(model.graph.initializer)
            self._lacks = [t.name for t in every if t.name in own and t.ByteSize() > _LARGE]
            del model.graph.initializer[:]
            model.graph.initializer.extend(t for t in every if t.name not in self._lacks)

    def __getstate__(self) -> dict[str, Any]:
        assert self._model is not None
        return {**vars(self), "_model": self._model.SerializeToString(), "_opened": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _model=onnx.load_model_from_string(state["_model"]))

    def open(self, weights: Weights | None) -> None:
        """Make ready to run, once; raises what onnxruntime raises. ``weights``: those that it went without."""
        with _one:
            if self._opened is not None:
                return
            assert self._model is not None
            model = self._model
            if weights is not None:
                model = onnx.ModelProto()
                model.CopyFrom(self._model)
                model.graph.initializer.extend(weights.tensors[name] for name in self._lacks)
            self._opened = open_session(model, *self._how, folder=self._folder)
            self._model = self._model if self._travels else None

    def run(self, names: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """Values of these outputs of what is open; raises what onnxruntime raises."""
        found: list[Any] = self._opened.run(list(names), dict(feeds))
        return found


class InParts:
    """A network that is run stretch by stretch, on any chunk of samples. It goes as bytes, whole."""

    def __init__(self, graph: Graph, parts: Sequence[Stretch]) -> None:
        self._model, self._folder, self._providers = graph.model, _absolute(graph.folder), chosen()
        self._parts, self._last = parts, -1
        self._opened: Interpreter | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_model": self._model.SerializeToString(), "_opened": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _model=onnx.load_model_from_string(state["_model"]))

    def run(self, number: int, chunk: dict[str, Array], before: Mapping[str, Kept]) -> dict[str, Any]:
        """What a stretch fetches for a chunk, of which the one before left ``before``."""
        names = self._parts[number].names
        with _one, running_on(self._providers):
            if self._opened is None:
                self._opened = Interpreter(self._model, self._folder, [chunk])
            self._opened.take(chunk, before, anew=number != self._last)
            self._last = number
            return dict(zip(names, self._opened.peek(names, 0), strict=True))
