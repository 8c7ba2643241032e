"""Loops that nobody would wait for: a small file may ask for as many rounds as a number can say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from spa_cli.errors import ModelError
from spa_cli.graph.control_flow import taken, trips
from spa_cli.graph.guard import guarded
from spa_cli.graph.known import Read, Shapes
from spa_cli.graph.model import Array, Body, Graph, Node
from spa_cli.graph.shapes import constant

# with the smallest body they take onnxruntime ten seconds
_MOST = 10_000_000


class _Untold(Exception):
    """How often a body runs can't be told of a node that is not what its operator is."""


def check_rounds(graph: Graph, known: Shapes, name: str) -> None:
    """Raises ModelError where the constants of the model called ``name`` alone say that it would never be done."""

    def read(tensor: str) -> Array | None:
        return constant(graph, known, tensor)

    for node, rounds in _inside(graph.nodes, 1, known, read):
        if rounds > _MOST:
            times = "for ever" if rounds == math.inf else f"{rounds} times"
            raise ModelError(
                f"'{node.label}' of '{name}' runs its body {times}, and no more than {_MOST} are waited for; export it "
                "with fewer"
            )


def _inside(nodes: Iterable[Node], outer: float, known: Shapes, read: Read) -> Iterator[tuple[Node, float]]:
    """Every node that has bodies, and how often those run at least, as far as that is known."""
    for node in nodes:
        if node.domain or not node.bodies:
            continue
        try:
            with guarded(node, _Untold):
                rounds = outer * _rounds(node, known, read)
                bodies = node.bodies if node.op != "If" else _run(node, read)
        except _Untold:
            continue
        yield node, rounds
        for body in bodies:
            yield from _inside(body.nodes, rounds, known, read)


def _run(node: Node, read: Read) -> tuple[Body, ...]:
    at = taken(node, read)
    return () if at is None else (node.bodies[at],)


def _rounds(node: Node, known: Shapes, read: Read) -> float:
    if node.op == "Scan":
        return trips(node, known, read) or 0
    if node.op != "Loop":
        return 1
    if not _goes_on(node, read):
        # what it works out may end it after the first
        return 1
    if not node.inputs[0]:
        return math.inf
    most = trips(node, known, read)
    return 1 if most is None else most


def _goes_on(node: Node, read: Read) -> bool:
    """Whether a Loop's condition is true all the time."""

    def is_true(name: str) -> bool:
        value = read(name)
        return value is not None and bool(value.all())

    (body,) = node.bodies
    if node.input(1) and not is_true(node.input(1)):
        return False
    makers = {output: inner for inner in body.nodes for output in inner.outputs}
    name = body.outputs[0]
    while name in makers and makers[name].op == "Identity":
        name = makers[name].inputs[0]
    # while the body runs, the condition that it is given is true
    return name == body.inputs[1] or is_true(name)
