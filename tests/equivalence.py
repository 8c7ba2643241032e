"""Removing equals zeroing: the foundation, checked without any of the product's own checking code.

A cut is judged by the plan it gives (``kept``: which indices of which parameter stay) and by the model it makes: the
original with everything else set to zero must compute the same, in onnxruntime.
"""

import math
from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from spa_cli.channels.selection import Selection
from spa_cli.operators.rewrite import cut
from spa_cli.plan import from_cut
from tests.builders import analysed, frozen, graphs_of, groups

RTOL = 1e-3
_TYPES = {
    onnx.TensorProto.FLOAT: np.float32,
    onnx.TensorProto.FLOAT16: np.float16,
    onnx.TensorProto.DOUBLE: np.float64,
    onnx.TensorProto.INT64: np.int64,
    onnx.TensorProto.INT32: np.int32,
    onnx.TensorProto.INT8: np.int8,
    onnx.TensorProto.UINT8: np.uint8,
    onnx.TensorProto.BOOL: np.bool_,
}


def assert_groups(model, expected, reasons=None) -> None:
    """The groups are the expected ones, the frozen axes say why, and cutting equals zeroing."""
    assert groups(model) == sorted(map(_ordered, expected))
    found = frozen(model)
    for place, reason in (reasons or {}).items():
        assert found[place] == reason
    assert (assert_removing_is_zeroing(model) > 0) == bool(expected)


def _ordered(description):
    head, _, members = description.partition(": ")
    return f"{head}: {' '.join(sorted(members.split()))}"


def assert_removing_is_zeroing(model, rtol=RTOL, seed=0) -> int:
    """Cut every exact group alone (one channel; half of them), then all of them; approximate ones must stay valid.

    Returns how many cuts were checked.
    """
    case = _Case(model, seed)
    exact = [i for i, g in enumerate(case.analysis.grouping.groups) if g.exact]
    inexact = [i for i, g in enumerate(case.analysis.grouping.groups) if not g.exact]
    done = 0
    for index in exact:
        for share in (0.0, 0.5):
            done += case.check({index: share}, rtol)
    if len(exact) > 1:
        done += case.check(dict.fromkeys(exact, 0.4), rtol)
    for index in inexact:
        done += case.check({index: 0.5}, None)
    if inexact:
        done += case.check(dict.fromkeys(exact + inexact, 0.4), None)
    return done


class _Case:
    """One model and the inputs it is tried on."""

    def __init__(self, model, seed):
        self.model = model
        self.analysis = analysed(model)
        self.rng = np.random.default_rng(seed)
        self.feeds = list(feeds(model, self.analysis.input_shapes, self.rng))
        self.valid = _valid(model)

    def check(self, shares, rtol):
        """Cut groups by their share of channels; 0 if an axis would become empty."""
        selection = self.select(shares)
        if selection is None:
            return 0
        a = self.analysis
        work = cut(a.graph, a.state, a.grouping, selection, {"test": True})
        plan = from_cut(work, {})
        kept = plan.kept | plan.hidden
        assert set(plan.kept) <= set(_plain(self.model)), "the plan's kept names tensors of the main graph only"
        what = ", ".join(f"{a.grouping.groups[i].name} by {s:.0%}" for i, s in shares.items())
        assert kept, f"nothing was cut: {what}"
        assert_follows_plan(self.model, work.model, kept)
        assert signature(work.model) == signature(self.model)
        if self.valid:
            onnx.checker.check_model(work.model, full_check=True)
        masked = zeroed(self.model, kept)
        for given in self.feeds:
            left, right = run(masked, given), run(work.model, given)
            if rtol is None:
                _assert_alike(self.model, left, right)
            else:
                assert_same(self.model, left, right, rtol, what)
        return 1

    def select(self, shares):
        """A random choice of channels of some groups, ``None`` if some axis would have no channel left."""
        grouping = self.analysis.grouping
        selection = Selection(grouping)
        for index, share in shares.items():
            group = grouping.groups[index]
            count = min(max(1, math.floor(share * group.channels)), group.channels - (len(shares) > 1))
            blocks = max(1, len(group.blocks))
            keep = np.ones((blocks, group.channels), bool)
            for line in keep:
                line[self.rng.permutation(group.channels)[:count]] = False
            selection.keep(index, keep if len(group.blocks) else keep[0])
        alive = all(selection.mask(rows).any() for rows, _ in grouping.arrays().values())
        return selection if alive and selection.kept else None


# -- the plan -------------------------------------------------------------------------------------------------------


def parameters(model) -> dict[str, onnx.TensorProto | onnx.SparseTensorProto]:
    """Every initializer and Constant, inside bodies too."""
    found = {}
    for graph in graphs_of(model.graph):
        found |= _plain_of(graph) | {s.values.name: s for s in graph.sparse_initializer}
    return found


def _plain(model):
    return _plain_of(model.graph)


def _plain_of(graph):
    found = {t.name: t for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    return found


def _values_of(tensor):
    if isinstance(tensor, onnx.TensorProto):
        return numpy_helper.to_array(tensor)
    array = np.zeros(tuple(tensor.dims), np.float32)
    at = numpy_helper.to_array(tensor.indices)
    array[tuple(at.T) if at.ndim == 2 else np.unravel_index(at, array.shape)] = numpy_helper.to_array(tensor.values)
    return array


def _store(tensor, array):
    if isinstance(tensor, onnx.TensorProto):
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        return
    at = np.argwhere(array) if len(tensor.indices.dims) == 2 else np.flatnonzero(array)
    tensor.values.CopyFrom(numpy_helper.from_array(array[array != 0], tensor.values.name))
    tensor.indices.CopyFrom(numpy_helper.from_array(at, tensor.indices.name))


def kept_mask(shape, entry) -> np.ndarray:
    """True where an element belongs to kept indices only."""
    mask = np.ones(shape, bool)
    grid = np.indices(shape)
    for axis, kept in entry.items():
        at = grid[int(axis)]
        if kept and isinstance(kept[0], list):
            block = grid[0] // (shape[0] // len(kept))
            mask &= np.choose(block, [np.isin(at, k) for k in kept]) if len(kept) < 32 else _by_block(block, at, kept)
        else:
            mask &= np.isin(at, kept)
    return mask


def _by_block(block, at, kept):
    return np.vectorize(lambda b, i: i in kept[b])(block, at)


def zeroed(model, kept) -> onnx.ModelProto:
    """The model with all that is not kept set to zero."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for name, tensor in parameters(result).items():
        if name in kept:
            array = _values_of(tensor)
            _store(tensor, np.where(kept_mask(array.shape, kept[name]), array, 0).astype(array.dtype))
    return result


def assert_follows_plan(original, pruned, kept) -> None:
    """Every parameter of the plan holds exactly the kept elements; other float weights are untouched."""
    before, after = parameters(original), parameters(pruned)
    assert set(kept) <= set(before)
    for name, tensor in before.items():
        array = _values_of(tensor)
        if name in kept:
            found = _values_of(after[name])
            expected = array[kept_mask(array.shape, kept[name])]
            assert np.array_equal(found.ravel(), expected), f"'{name}' is not the plan's slice"
            assert found.ndim == array.ndim
        elif array.dtype.kind == "f":
            assert name in after or not array.any(), f"'{name}' is gone"
            if name not in after:
                continue
            assert np.array_equal(_values_of(after[name]), array), f"'{name}' changed"
    names = {n.name for n in pruned.graph.node}
    read = {i for graph in graphs_of(pruned.graph) for n in graph.node for i in n.input}
    # a channel shuffle becomes a Gather, initial states of zeros are left out
    assert all(n.name in names or not read & {*n.output} for n in original.graph.node)


# -- running --------------------------------------------------------------------------------------------------------


def feeds(model, shapes, rng) -> Iterator[dict[str, np.ndarray]]:
    """Inputs at the shapes of the analysis, and with free dimensions of other sizes if there are any."""
    fixed = {t.name for t in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in fixed]
    yield {i.name: _values(i, shapes[i.name], rng) for i in inputs}
    free = {d.dim_param for i in inputs for d in i.type.tensor_type.shape.dim if d.dim_param}
    if free:
        sizes = {name: at + 3 for at, name in enumerate(sorted(free))}
        yield {
            i.name: _values(i, [sizes.get(d.dim_param, d.dim_value) for d in i.type.tensor_type.shape.dim], rng)
            for i in inputs
        }


def _values(info, shape, rng):
    dtype = _TYPES[info.type.tensor_type.elem_type]
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def run(model, given) -> list[np.ndarray]:
    """Outputs in onnxruntime, without its optimiser."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, given)


def assert_same(model, left, right, rtol, what="") -> None:
    """Outputs equal up to ``rtol`` of the largest element."""
    _assert_alike(model, left, right)
    for info, a, b in zip(model.graph.output, left, right, strict=True):
        if a.dtype.kind != "f":
            assert np.array_equal(a, b), f"output '{info.name}' differs after cutting {what}"
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        assert np.isfinite(a).all(), f"output '{info.name}' of the masked original is not finite ({what})"
        worst = np.abs(a - b).max(initial=0) / (np.abs(a).max(initial=0) + 1e-12)
        assert worst <= rtol, f"output '{info.name}' is off by {worst:.1e} after cutting {what}"


def _assert_alike(model, left, right):
    for info, a, b in zip(model.graph.output, left, right, strict=True):
        assert a.shape == b.shape, f"output '{info.name}' has shape {b.shape}, not {a.shape}"
        assert a.dtype == b.dtype
        assert a.dtype.kind != "f" or np.isfinite(b).all(), f"output '{info.name}' is not finite"


def signature(model) -> tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]:
    """Names and types of what is fed and fetched, in order."""
    fixed = {t.name for t in model.graph.initializer}
    return (
        [(i.name, i.type.SerializeToString(deterministic=True)) for i in model.graph.input if i.name not in fixed],
        [(o.name, o.type.SerializeToString(deterministic=True)) for o in model.graph.output],
    )


def _valid(model):
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return False
    return True
