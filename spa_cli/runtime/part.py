"""What can be run of a model that onnxruntime can't run: all but the nodes that it lacks and what only they feed.

What those nodes give is fed, made up; what they read is fetched. One graph is left, perhaps in several pieces.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from spa_cli.graph.bodies import captured_names
from spa_cli.graph.known import Shapes
from spa_cli.graph.model import Graph, Node
from spa_cli.runtime.made_up import made_up, synthetic
from spa_cli.runtime.session import Feeds, open_session


@dataclass(frozen=True, eq=False)
class Part:
    """``run`` runs it in any version of the model that has the same interfaces to what is left out.

    ``feeds``: what that is run on. ``left_out``: labels of the nodes of the main graph that are not in it.
    """

    feeds: Feeds
    left_out: tuple[str, ...]
    _gone: frozenset[str]
    _given: tuple[onnx.ValueInfoProto, ...]
    _fetched: tuple[str, ...]

    def of(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The part of ``model``, whose weights are in memory."""
        part = onnx.ModelProto()
        part.CopyFrom(model)
        graph = part.graph
        nodes = [n for n in model.graph.node if self._gone.isdisjoint(n.output)]
        made = {*(o for n in nodes for o in n.output), *(v.name for v in graph.input)}
        ends = [v for v in model.graph.output if v.name in made]
        ends += [helper.make_empty_tensor_value_info(n) for n in self._fetched if n in made]
        for field, kept in ((graph.node, nodes), (graph.output, ends)):
            del field[:]
            field.extend(kept)
        # of what is fed now, too
        del graph.value_info[:]
        graph.input.extend(self._given)
        return part

    def run(self, model: onnx.ModelProto) -> dict[str, Any]:
        """What the part of ``model`` gives, by tensor; raises what onnxruntime raises."""
        session = open_session(self.of(model))
        wanted = {i.name for i in session.get_inputs()}
        found = session.run(None, {n: v for n, v in self.feeds.items() if n in wanted})
        return dict(zip((o.name for o in session.get_outputs()), found, strict=True))


def part_of(
    graph: Graph, known: Shapes, shapes: dict[str, tuple[int, ...]], missing: Collection[Node], moving: Collection[str]
) -> Part | None:
    """All that can be run without the nodes ``missing``, at these input shapes; ``None`` if nothing can.

    ``moving``: tensors of which channels may go. What a node that is left out gives is fed only where none may, and
    where its shape is known; else what reads it is left out, too.
    """
    feeds = synthetic(graph, shapes)
    rng = np.random.default_rng(0)
    gone, given, unfed = set[str](), dict[str, onnx.ValueInfoProto](), set[str]()
    left_out, fetched = dict[Node, None](), dict[str, None]()
    for node in graph.nodes:
        read = {i for i in node.inputs if i} | captured_names(node.proto)
        if node not in missing and unfed.isdisjoint(read):
            continue
        left_out[node] = None
        gone.update(o for o in node.outputs if o)
        fetched.update(dict.fromkeys(i for i in node.inputs if i in graph.producers and i not in moving))
        for name in (o for o in node.outputs if o):
            shape = known.shape.get(name)
            if shape is None or None in shape or name in moving:
                unfed.add(name)
                continue
            sizes = tuple(int(d or 0) for d in shape)
            element = known.dtype.get(name, onnx.TensorProto.FLOAT)
            feeds[name] = made_up(name, element, sizes, rng)
            # any size will do: an initializer beside it may say which
            given[name] = helper.make_tensor_value_info(name, element, [None] * len(sizes))
    kept = [n for n in graph.nodes if n not in left_out]
    wanted = tuple(n for n in fetched if n not in gone and n not in graph.parameters and n not in graph.outputs)
    if not any(n in graph.outputs or n in wanted for node in kept for n in node.outputs):
        return None
    labels = tuple(n.label for n in left_out)
    return Part(feeds, labels, frozenset(gone), tuple(given.values()), wanted)
