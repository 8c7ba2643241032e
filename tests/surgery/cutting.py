"""A cut held still: what surgery does between two rewrites, without any operator's rule."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from spa_cli.channels.selection import Selection
from spa_cli.graph.model import Node
from spa_cli.surgery.cut import Cut
from tests.builders import analysed, build

# of the six channels of a convolution of weight wa, two
TWO_GO = {"wa:0": [1, 4]}
# the number of channels that ``a`` has
COUNT = "s = Shape(a)\n c = Gather(s, one)\n"
Gone = dict[str, list[int] | list[list[int]]]


def begun(model: onnx.ModelProto, gone: Gone) -> Cut:
    """A cut of ``model`` in which no node was touched yet; ``gone``: ``{"tensor:axis": channels of its first group}``.

    Where blocks choose for themselves, a list for each.
    """
    analysis = analysed(model)
    grouping = analysis.grouping
    selection = Selection(grouping)
    for place, channels in gone.items():
        tensor, axis = place.split(":")
        index = next(
            i
            for i, g in enumerate(grouping.groups)
            if any((m.tensor, m.axis) == (tensor, int(axis)) for m in g.members)
            and bool(len(g.blocks)) == bool(channels and isinstance(channels[0], list))
        )
        group = grouping.groups[index]
        keep = np.ones((max(1, len(group.blocks)), group.channels), bool)
        for line, removed in zip(keep, channels if len(group.blocks) else [channels], strict=True):
            line[removed] = False
        selection.keep(index, keep if len(group.blocks) else keep[0])
    return Cut(analysis.graph, analysis.state, grouping, selection)


def node(work: Cut, output: str) -> Node:
    """The node that gives a tensor."""
    return work.graph.producers[output]


def advance(work: Cut, until: str = "") -> Cut:
    """Follow sizes through the graph, as far as the node that gives ``until``; nothing is rewritten."""
    for each in work.graph.all_nodes:
        if until in each.outputs:
            break
        work.values.advance(each)
    return work


def reads(work: Cut, output: str) -> list[str]:
    """What the node that gives ``output`` reads in the new model."""
    return list(work.proto(node(work, output)).input)


def finished(work: Cut) -> onnx.ModelProto:
    """The new model with all it needs to run: parameters cut, edited and made, inserted nodes before their readers."""
    model = onnx.ModelProto()
    model.CopyFrom(work.model)
    graph, values = work.graph, work.values
    for old in graph.model.graph.initializer:
        array = values.edited_parameters.get(old.name)
        if array is None:
            array = work.gather(old.name) if work.changed(old.name) else graph.array(old.name)
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), old.name))
    for name, array in values.new_parameters.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    before = {reader.output[0]: patches for reader, patches in values.inserted}
    nodes = [n for each in work.model.graph.node for n in (*before.get(each.output[0], ()), each)]
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    return model


def image(batch: int = 2) -> dict[str, np.ndarray]:
    """What these convolutions take."""
    return {"x": np.random.default_rng(0).standard_normal((batch, 3, 5, 5)).astype(np.float32)}


def sizes(text: str, **weights: object) -> Cut:
    """A cut of a model whose ``a`` has 6 channels, two of which go; ``text``: what is computed from its shape."""
    body = f"(float[N,3,5,5] x) => (y) {{ a = Conv(x, wa)\n {text}\n y = Conv(a, wy) }}"
    return begun(build(body, wa=(6, 3, 1, 1), wy=(4, 6, 1, 1), **weights), TWO_GO)
