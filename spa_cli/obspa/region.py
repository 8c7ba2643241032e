"""What stands behind a layer, up to what a later one gives, as a function of what the first gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from threading import Lock

import numpy as np
import onnx
from onnxruntime import InferenceSession

from spa_cli.adjoints.network import Adjoint, adjoint
from spa_cli.adjoints.weights import opened
from spa_cli.analysis import shapes_at
from spa_cli.graph.model import Array
from spa_cli.graph.view import build
from spa_cli.obspa.unfit import Unfit
from spa_cli.runtime.interpreter import Interpreter
from spa_cli.runtime.said import said

# how far differences reach, relative to a tensor's size
_STEP = 1e-3

Given = Mapping[str, Array]


class Region:
    """``y = f(z)`` from tensor ``start`` to tensor ``end`` of a network, and its slope in both directions.

    ``given``: values of ``start``, and of what else comes in on the way and stays as it is. Raises Unfit where there
    is no gradient, or onnxruntime does not run it. ``threads``: how many a run takes (``None``: all there are); one
    where several are made at the same time.
    """

    def __init__(
        self,
        side: Interpreter,
        nodes: Sequence[onnx.NodeProto],
        start: str,
        end: str,
        given: Given,
        threads: int | None = None,
    ) -> None:
        self.start, self._end = start, end
        self._model = side.part(nodes, given, end)
        self._threads, self._making = threads, Lock()
        self._forward = _opened(self._model, self._threads)
        self._sizes = {name: value.shape for name, value in given.items()}

    def __call__(self, given: Given) -> Array:
        """``f(z)``."""
        return _run(self._forward, None, given)

    def moved(self, given: Given, change: Array) -> Array:
        """``f(z + dz)``."""
        return self({**given, self.start: given[self.start] + change})

    def pushed(self, given: Given, change: Array) -> Array:
        """``J dz``, by differences on either side of ``z``."""
        reach = np.float32(_STEP * max(_size(given[self.start]), 1e-6) / max(_size(change), 1e-30))
        above, below = self.moved(given, reach * change), self.moved(given, -reach * change)
        return np.asarray((above - below) / (2 * reach))

    def pulled(self, given: Given, felt: Array) -> Array:
        """``J^T g``."""
        with self._making:
            back, session = self._back
        feeds = {**given, back.cotangents[self._end]: felt}
        return _run(session, [back.gradients[self.start]], feeds)

    @cached_property
    def _back(self) -> tuple[Adjoint, InferenceSession]:
        graph = build(self._model, "")
        try:
            found = adjoint(graph, shapes_at(graph, self._sizes), [self.start], [self._end])
        except Exception as error:
            raise Unfit(said(error)) from error
        if found.missing:
            raise Unfit(found.missing[self.start])
        return found, _opened(found.model, self._threads)


def _opened(model: onnx.ModelProto, threads: int | None) -> InferenceSession:
    try:
        return opened(model, threads)
    except Exception as error:
        raise Unfit(said(error)) from error


def _run(session: InferenceSession, names: list[str] | None, feeds: Given) -> Array:
    try:
        return np.asarray(session.run(names, dict(feeds))[0])
    except Exception as error:
        raise Unfit(said(error)) from error


def _size(value: Array) -> float:
    return float(np.sqrt(np.square(value, dtype=np.float64).mean()))
