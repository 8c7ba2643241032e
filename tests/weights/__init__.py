"""Plans for small models, and the claim that cutting commutes with how a framework lays its weights out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

import spa_cli
from spa_cli.analysis import analyse_model
from spa_cli.channels.selection import Selection
from spa_cli.operators.rewrite import cut
from spa_cli.plan import Plan, from_cut
from spa_cli.runtime.load import load
from spa_cli.surgery.remaining import gather
from spa_cli.weights.carry import Carried
from tests.builders import build

Arrays = dict[str, np.ndarray]

MLP = """(float[N,5] x) => (y) {
  a = Gemm<transB=1>(x, layer1__weight, layer1__bias)
  r = Relu(a)
  y = Gemm<transB=1>(r, layer2__weight, layer2__bias)
}"""
MLP_SHAPES = {"layer1__weight": (8, 5), "layer1__bias": (8,), "layer2__weight": (3, 8), "layer2__bias": (3,)}


def dotted(text, weights=None, **more) -> onnx.ModelProto:
    """A model whose weights have two underscores in their names where PyTorch has a dot."""
    model = build(text, **(weights or {}), **more)
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.replace("__", ".")
    for node in model.graph.node:
        inputs = [n.replace("__", ".") for n in node.input]
        del node.input[:]
        node.input.extend(inputs)
    return model


def mlp(**shapes) -> onnx.ModelProto:
    """Two layers, named as PyTorch names them."""
    return dotted(MLP, MLP_SHAPES | shapes)


def planned(model, seed=0, share=0.4, only=None) -> tuple[Plan, Arrays]:
    """A random plan for a model (``only``: for groups whose weight has this in its name), and all its weights."""
    analysis = analyse_model(load(model), {})
    rng = np.random.default_rng(seed)
    selection = Selection(analysis.grouping)
    for index, group in enumerate(analysis.grouping.groups):
        shape = (len(group.blocks), group.channels) if len(group.blocks) else (group.channels,)
        if only is None or only in group.tensor:
            selection.keep(index, np.argsort(rng.random(shape), axis=-1) >= int(share * group.channels))
    work = cut(analysis.graph, analysis.state, analysis.grouping, selection, {})
    plan = from_cut(work, {})
    assert plan.kept or plan.hidden
    return plan, {n: analysis.graph.array(n) for n in analysis.graph.weights()}


def smaller(plan, arrays) -> Arrays:
    """The model's weights after the cut."""
    entries = plan.kept | plan.hidden
    return {n: gather(a, entries.get(n, {})) for n, a in arrays.items()}


def same(a, b) -> bool:
    """The same keys in the same order, the same types, shapes and bits."""
    return list(a) == list(b) and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a
    )


def assert_commutes(model, framework: Callable[[Arrays], Arrays], seeds=(0, 1, 2), **options) -> Carried:
    """Cutting the framework's weights gives what the framework would make of the cut ones."""
    for seed in seeds:
        plan, arrays = planned(model, seed)
        result = spa_cli.apply_weights(plan, framework(arrays), model=model, **options)
        wanted = framework(smaller(plan, arrays))
        assert same(result.weights.tensors, wanted), {
            k: (wanted[k].shape, t.shape) for k, t in result.weights.tensors.items()
        }
        assert set(result.matched) == set(plan.kept | plan.hidden)
        assert result.params == tuple(sum(a.size for a in w.values()) for w in (framework(arrays), wanted))
    return result
