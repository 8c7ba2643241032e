"""Numbers taken by index."""

import numpy as np
import pytest

from tests.adjoints.differences import check, model_of, noise


def ints(values) -> np.ndarray:
    return np.array(values, np.int64)


CASES = [
    ("y = Gather<axis=1>(x, i)", ints(2)),
    ("y = Gather<axis=1>(x, i)", ints(-1)),
    ("y = Gather<axis=1>(x, i)", ints([3, 0])),
    ("y = Gather<axis=0>(x, i)", ints([[2, 0], [2, 1]])),
    ("y = Gather<axis=2>(x, i)", ints([0, 1, 1])),
    ("y = GatherElements<axis=1>(x, i)", ints([[[1, 1], [0, 3], [1, 0]]] * 3)),
    ("y = GatherND(x, i)", ints([[0, 1], [2, 2], [0, 1]])),
]


@pytest.mark.parametrize("opset", [12, 18])
@pytest.mark.parametrize("given", ["constant", "input"])
@pytest.mark.parametrize(("body", "places"), CASES)
def test_gather(body, places, given, opset) -> None:
    # before opset 16 single numbers only go back where sizes are known, slices nowhere
    if opset < 16 and ("GatherND" in body or ("GatherElements" in body and given == "input")):
        return
    inputs = {"x": noise(3, 4, 2)}
    weights = {"i": places}
    if given == "input":
        inputs, weights = {**inputs, **weights}, {}
    check(model_of(body, inputs, weights, opset=opset, free=given == "input"), inputs, ["x"])


SCATTER = [
    ("y = ScatterND(x, i, u)", ints([[0], [2]]), (2, 4)),
    ('y = ScatterND<reduction="add">(x, i, u)', ints([[0], [0]]), (2, 4)),
    ("y = ScatterElements<axis=1>(x, i, u)", ints([[0, 2], [3, 1]]), (2, 2)),
    ('y = ScatterElements<axis=1, reduction="add">(x, i, u)', ints([[0, 0], [3, 1]]), (2, 2)),
]


@pytest.mark.parametrize(("body", "places", "shape"), SCATTER)
def test_scatter(body, places, shape) -> None:
    inputs = {"x": noise(3, 4), "u": noise(*shape, seed=1)}
    check(model_of(body, inputs, {"i": places}), inputs, ["x", "u"])
