"""Gradients of small graphs against finite differences."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidGraph, NotImplemented

from spa_cli.adjoints.network import Adjoint, adjoint
from spa_cli.graph.shapes import interpret
from spa_cli.graph.view import build as view
from spa_cli.runtime.session import open_session

FLOATS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double", np.dtype(np.int64): "int64"}


def model_of(body, inputs, weights, outputs="y", opset=18, dtype="double", domains=None, free=False) -> onnx.ModelProto:
    """A model of the nodes ``body`` on inputs and weights, given as arrays; ``free``: inputs of any size."""
    imports = "".join(f', "{d}" : {v}' for d, v in {**(domains or {})}.items())
    names = ", ".join(
        f"{FLOATS[a.dtype]}[{','.join(f'{n}_{i}' if free else str(d) for i, d in enumerate(a.shape))}] {n}"
        for n, a in inputs.items()
    )
    given = ", ".join(f"{dtype}[] {o}" for o in outputs.split())
    text = f'<ir_version: 8, opset_import: ["" : {opset}{imports}]>\ngraph ({names}) => ({given}) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    for name, array in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return model


def adjoint_of(model, inputs, wanted, outputs=None) -> Adjoint:
    """The gradient graph, analysed at the shapes of ``inputs``."""
    graph = view(model, "")
    shapes = interpret(graph, {name: array.shape for name, array in inputs.items()})
    return adjoint(graph, shapes, wanted, outputs or graph.outputs)


def gradients(found, inputs, cotangents) -> tuple[dict, dict]:
    """Gradients by tensor, and outputs by name."""
    session = open_session(found.model)
    feeds = {**inputs, **{found.cotangents[o]: c for o, c in cotangents.items()}}
    values = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))
    return {t: values[n] for t, n in found.gradients.items()}, values


def check(model, inputs, wanted, at=None, step=1e-6, tolerance=1e-6) -> None:
    """Every wanted input's gradient is that of finite differences, element by element; at other shapes too (``at``)."""
    found = adjoint_of(model, inputs, wanted)
    assert not found.missing
    for feeds in (inputs, *([at] if at else [])):
        outputs = open_session(model).run(None, feeds)
        rng = np.random.default_rng(1)
        names = [o.name for o in model.graph.output]
        cotangents = {n: rng.standard_normal(o.shape).astype(o.dtype) for n, o in zip(names, outputs, strict=True)}
        got, values = gradients(found, feeds, cotangents)
        for name, output in zip(names, outputs, strict=True):
            np.testing.assert_allclose(values[name], output, rtol=1e-5, atol=1e-6)
        session = open_session(model)

        def total(feeds, session=session, cotangents=cotangents) -> float:
            results = session.run(None, feeds)
            pairs = zip(cotangents.values(), results, strict=True)
            return sum(float(np.sum(c.astype(np.float64) * r.astype(np.float64))) for c, r in pairs)

        for name in wanted:
            assert got[name].shape == feeds[name].shape and got[name].dtype == feeds[name].dtype
            expected = np.zeros(feeds[name].shape)
            for place in np.ndindex(*feeds[name].shape):
                sides = []
                for sign in (1, -1):
                    moved = feeds[name].copy()
                    moved[place] += sign * step
                    sides.append(total({**feeds, name: moved}))
                expected[place] = (sides[0] - sides[1]) / (2 * step)
            scale = max(float(np.abs(expected).max(initial=0)), 1e-3)
            np.testing.assert_allclose(got[name], expected, atol=tolerance * scale, rtol=tolerance, err_msg=name)


def check_any(body, inputs, weights, wanted, tolerance=1e-5, **options) -> None:
    """As ``check``, in single precision if onnxruntime or ONNX has no other."""
    try:
        check(model_of(body, inputs, weights, **options), inputs, wanted, tolerance=tolerance)
    except (NotImplemented, InvalidGraph):
        inputs = {n: half(a) for n, a in inputs.items()}
        weights = {n: half(w) if np.asarray(w).dtype.kind == "f" else w for n, w in weights.items()}
        model = model_of(body, inputs, weights, dtype="float", **options)
        check(model, inputs, wanted, step=1e-3, tolerance=1e-2)


def half(array) -> np.ndarray:
    """In single precision: where onnxruntime has no kernel for double."""
    return np.asarray(array, np.float32)


def noise(*shape, seed=0, low=None, dtype=np.float64) -> np.ndarray:
    """Random numbers, far enough apart that no kink lies within a step of one; at least ``low`` if given."""
    rng = np.random.default_rng([seed, *shape])
    count = int(np.prod(shape))
    values = (rng.permutation(count) - (count - 1) / 2 + 0.2 + 0.4 * rng.random(count)) * 3.0 / max(count, 4)
    values = np.abs(values) + low if low is not None else values
    return values.reshape(shape).astype(dtype)


__all__ = ["adjoint_of", "check", "check_any", "gradients", "half", "model_of", "noise"]
