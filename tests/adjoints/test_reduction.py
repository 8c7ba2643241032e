"""Reductions and functions of rows."""

import numpy as np
import pytest

from spa_cli.adjoints.reduction import SHARES
from tests.adjoints.differences import check, check_any, model_of, noise


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean", *SHARES])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("axes", [[1], [0, -1], None])
def test_reduction(operator, keep, opset, axes) -> None:
    inputs = {"x": noise(2, 3, 2, low=0.3) if "Log" in operator or "Prod" in operator else noise(2, 3, 2)}
    weights, given, attribute = {}, "", ""
    if axes is not None and opset == 18:
        weights, given = {"a": np.array(axes, np.int64)}, ", a"
    elif axes is not None:
        attribute = f", axes={axes}"
    check_any(f"y = {operator}<keepdims={keep}{attribute}>(x{given})", inputs, weights, ["x"], opset=opset)


@pytest.mark.parametrize("call", ["ReduceMean<axes=[1], keepdims=0>", "ReduceSum<keepdims=0>", "GlobalAveragePool"])
def test_before_there_was_expand(call) -> None:
    check_any(f"y = {call}(x)", {"x": noise(2, 3, 2, 4)}, {}, ["x"], opset=7)


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(("opset", "axis"), [(11, 1), (11, 2), (13, 1), (13, -1)])
def test_softmax(operator, opset, axis) -> None:
    inputs = {"x": noise(2, 3, 2)}
    check(model_of(f"y = {operator}<axis={axis}>(x)", inputs, {}, opset=opset), inputs, ["x"])


@pytest.mark.parametrize("attributes", ["", "<reverse=1>", "<exclusive=1>"])
def test_cumsum(attributes) -> None:
    inputs = {"x": noise(2, 3)}
    check(model_of(f"y = CumSum{attributes}(x, a)", inputs, {"a": np.array(1, np.int64)}), inputs, ["x"])


@pytest.mark.parametrize("upper", [0, 1])
def test_trilu(upper) -> None:
    inputs = {"x": noise(2, 3, 3)}
    check(model_of(f"y = Trilu<upper={upper}>(x)", inputs, {}), inputs, ["x"])


def test_topk() -> None:
    inputs = {"x": noise(2, 5)}
    check(model_of("y, i = TopK<axis=1>(x, k)", inputs, {"k": np.array([2], np.int64)}), inputs, ["x"])
