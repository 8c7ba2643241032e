"""Small ONNX models from text, and short descriptions of what ``spa`` finds in them.

The body is ONNX's own text format; weights are given by name: a tuple is a shape to fill with random values, a list an
integer constant, an array itself. Types of the outputs may be left out, shape inference fills them in.
"""

import math
import zlib
from collections.abc import Iterator

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import helper, numpy_helper

from spa_cli.analysis import Analysis, analyse_model
from spa_cli.budget.bill import Bill
from spa_cli.budget.constraints import Constraints
from spa_cli.budget.menu import Menu
from spa_cli.budget.solve import Solver
from spa_cli.calibration.read import read_data
from spa_cli.channels.ranking import Ranking
from spa_cli.importance.evidence import Evidence
from spa_cli.importance.score import rank_groups
from spa_cli.options import Options
from spa_cli.request import Request
from spa_cli.runtime.load import load


def build(text, opset=18, ir=8, domains=None, **weights) -> onnx.ModelProto:
    """A model from ``(inputs) => (outputs) { nodes }`` and its weights."""
    imports = {"": opset, **(domains or {})}
    header = ", ".join(f'"{d}" : {v}' for d, v in imports.items())
    model = onnx.parser.parse_model(f"<ir_version: {ir}, opset_import: [{header}]>\ngraph {text.strip()}")
    for name, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(weight(name, value), name))
    for node in model.graph.node:
        node.name = node.name or f"{node.op_type}_{node.output[0]}"
    return with_output_types(model)


def case(name, text, expected, reasons=None, opset=18, ir=8, domains=None, **weights) -> object:
    """A parameter set: a model, its groups as ``groups`` gives them, and reasons of some frozen axes."""
    return pytest.param(build(text, opset, ir, domains, **weights), expected, reasons or {}, id=name)


def with_output_types(model) -> onnx.ModelProto:
    """Outputs without a type get the one shape inference finds."""
    if all(o.type.WhichOneof("value") for o in model.graph.output):
        return model
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    for output, found in zip(model.graph.output, inferred.graph.output, strict=True):
        if not output.type.WhichOneof("value"):
            output.CopyFrom(found)
    return model


def weight(name, value) -> np.ndarray:
    """An array for a weight: random where a shape is given, the same in every run."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, list):
        return np.array(value, np.int64)
    if isinstance(value, (int, float)):
        return np.array(value, np.int64 if isinstance(value, int) else np.float32)
    return random(value, name)


def random(shape, seed="", dtype=np.float32) -> np.ndarray:
    """Values like those of a trained layer: centred, of a size that keeps activations near one."""
    rng = np.random.default_rng(zlib.crc32(f"{seed}{shape}".encode()))
    fan_in = math.prod(shape[1:]) if len(shape) > 1 else 4
    return (rng.standard_normal(shape) / math.sqrt(fan_in)).astype(dtype)


def positive(*shape) -> np.ndarray:
    """Values between 0.5 and 1.5: variances, scales, slopes."""
    return (0.5 + np.random.default_rng(shape[0]).random(shape)).astype(np.float32)


def constant(array) -> str:
    """Text of a Constant node's tensor."""
    kind = {"f": "float", "i": "int64"}[np.asarray(array).dtype.kind]
    flat = ", ".join(repr(v) for v in np.ravel(array).tolist())
    return f"Constant <value = {kind}[{','.join(map(str, np.shape(array)))}] {{{flat}}}> ()"


def as_constant_nodes(model) -> onnx.ModelProto:
    """The same model with every initializer in a Constant node."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes = [
        helper.make_node("Constant", [], [t.name], name=f"Constant_{t.name}", value=t) for t in model.graph.initializer
    ]
    nodes += list(model.graph.node)
    del result.graph.initializer[:], result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def with_initializer_inputs(model) -> onnx.ModelProto:
    """The same model as IR version 3 wants it: every initializer is listed as an input too."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    result.ir_version = 3
    for tensor in model.graph.initializer:
        result.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return result


def inside(model) -> onnx.ModelProto:
    """The same model with every initializer that only one body reads stored in that body."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in list(model.graph.initializer):
        readers = [g for g in graphs_of(result.graph) if any(tensor.name in n.input for n in g.node)]
        if len(readers) == 1 and readers[0] is not result.graph:
            readers[0].initializer.append(tensor)
            result.graph.initializer.remove(next(t for t in result.graph.initializer if t.name == tensor.name))
    return result


def graphs_of(graph) -> Iterator[onnx.GraphProto]:
    """A graph and the bodies inside it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs_of(attribute.g)


def analysed(model) -> Analysis:
    """The analysis of a model."""
    return analyse_model(load(model), {})


def groups(model) -> list[str]:
    """Every group as ``"channels: tensor:axis ..."``.

    ``BxC`` where each of ``B`` blocks keeps its own ``C`` channels, ``~`` behind an approximate group's number,
    ``*n`` behind a member that loses ``n`` indices with every channel.
    """
    return sorted(described(g) for g in analysed(model).grouping.groups)


def described(group) -> str:
    """A group as ``groups`` tells it."""
    blocks = f"{len(group.blocks)}x" if len(group.blocks) else ""
    members = sorted(f"{m.tensor}:{m.axis}" + (f"*{m.rows}" if m.rows > 1 else "") for m in group.members)
    return f"{blocks}{group.channels}{'' if group.exact else '~'}: {' '.join(members)}"


def frozen(model) -> dict[str, str]:
    """``{"tensor:axis": reason}`` of every axis of a weight that can't lose anything."""
    return {f"{f.tensor}:{f.axis}": f.reason.text for f in analysed(model).grouping.frozen}


def roles(model) -> dict[str, str]:
    """``{"tensor:axis": role}`` of every member."""
    return {f"{m.tensor}:{m.axis}": m.role for g in analysed(model).grouping.groups for m in g.members}


def inexact(model) -> set[str]:
    """Reasons of the approximate groups."""
    return {g.inexact.text for g in analysed(model).grouping.groups if not g.exact}


def rankings(analysis: Analysis, method: str, **options: object) -> list[Ranking]:
    """Every group's channels by a criterion."""
    chosen = Options(ratio=0.5, method=method, **options)
    request = Request.of(chosen)
    data = read_data(chosen, request.focus, request.reading, analysis.graph)
    return rank_groups(Evidence(analysis, chosen, request.focus, data), request.recipe)[0]


def solver_of(analysis: Analysis, ranked: list[Ranking], **constraints: object) -> Solver:
    """What chooses by what the rankings lose."""
    menu = Menu(analysis.grouping, ranked, Constraints(**constraints), {*analysis.graph.weights()})
    return Solver(menu, Bill(analysis.costs, analysis.grouping))


def doubts(result) -> list[str]:
    """Warnings, but for those that outputs have moved far (weights that nobody trained have no channels to spare), that
    what inputs take was guessed, and that few channels are coarse.
    """
    known = ("no longer resemble", "was guessed", "the nearest below it")
    return [text for text in result.warnings if not any(words in text for words in known)]
