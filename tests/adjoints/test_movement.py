"""Numbers that move."""

import numpy as np
import pytest

from tests.adjoints.differences import check, model_of, noise


def ints(*values) -> np.ndarray:
    return np.array(values, np.int64)


CASES = [
    ("y = Reshape(x, s)", (2, 6), {"s": ints(-1, 3)}, 13),
    ("y = Flatten(x)", (2, 3, 2), {}, 13),
    ("y = Squeeze(x, s)", (2, 1, 3), {"s": ints(1)}, 13),
    ("y = Unsqueeze(x, s)", (2, 3), {"s": ints(1)}, 13),
    ("y = Unsqueeze<axes=[1]>(x)", (2, 3), {}, 9),
    ("y = Transpose<perm=[2,0,1]>(x)", (2, 3, 4), {}, 13),
    ("y = Transpose(x)", (2, 3, 4), {}, 13),
    ("y = Expand(x, s)", (3, 1), {"s": ints(2, 3, 4)}, 13),
    ("y = Tile(x, s)", (2, 3), {"s": ints(2, 3)}, 13),
    ("y = Concat<axis=1>(x, w, x)", (2, 3), {"w": noise(2, 2)}, 13),
    ("y = Concat<axis=-1>(x, w, x)", (2, 3), {"w": noise(2, 2)}, 13),
    ("y = Pad(x, s)", (2, 3), {"s": ints(1, 0, 2, 1)}, 13),
    ("y = Pad(x, s)", (3, 4), {"s": ints(1, -1, -2, 1)}, 13),
    ("y = Pad<pads=[1,0,2,1]>(x)", (2, 3), {}, 10),
    ('y = Pad<mode="reflect">(x, s)', (3, 4), {"s": ints(2, 1, 1, 0)}, 13),
    ('y = Pad<mode="edge">(x, s)', (3, 4), {"s": ints(2, 1, 1, 0)}, 13),
    ("y = Pad(x, s, , a)", (3, 4), {"s": ints(2, 1), "a": ints(-1)}, 18),
    ("y = Slice(x, s, e)", (4, 5), {"s": ints(1, 0), "e": ints(3, 99)}, 13),
    ("y = Slice(x, s, e, a, t)", (4, 6), {"s": ints(0), "e": ints(6), "a": ints(-1), "t": ints(2)}, 13),
    ("y = Slice(x, s, e, a, t)", (4, 6), {"s": ints(-1), "e": ints(-7), "a": ints(1), "t": ints(-1)}, 13),
    ("y = Slice(x, s, e, a)", (4, 6), {"s": ints(-3), "e": ints(-1), "a": ints(1)}, 10),
    ("y = Slice<starts=[1], ends=[4], axes=[1]>(x)", (4, 6), {}, 9),
    ("y = DepthToSpace<blocksize=2>(x)", (1, 8, 2, 3), {}, 13),
    ('y = DepthToSpace<blocksize=2, mode="CRD">(x)', (2, 8, 2, 3), {}, 13),
    ("y = SpaceToDepth<blocksize=2>(x)", (1, 2, 4, 6), {}, 13),
]


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize(("body", "shape", "weights", "opset"), CASES)
def test_movement(body, shape, weights, opset, free) -> None:
    inputs = {"x": noise(*shape)}
    if free and (opset < 11 or "mode=" in body):
        pytest.skip("where sizes vary there is none")
    check(model_of(body, inputs, weights, opset=opset, free=free), inputs, ["x"])


def test_split() -> None:
    inputs = {"x": noise(2, 6)}
    check(model_of("a, b, d = Split<axis=1>(x, s)  y = Mul(a, d)", inputs, {"s": ints(2, 2, 2)}), inputs, ["x"])
    check(model_of("a, b = Split<axis=-1, split=[2,4]>(x)  y = Exp(b)", inputs, {}, opset=11), inputs, ["x"])


def test_computed_slice() -> None:
    """Positions that the shape decides."""
    inputs = {"x": noise(3, 4)}
    body = "d = Shape(x)  n = Gather<axis=0>(d, i)  h = Div(n, t)  y = Slice(x, h, n, i)"
    model = model_of(body, inputs, {"i": ints(1), "t": ints(2)}, free=True)
    check(model, inputs, ["x"], {"x": noise(2, 7)})


@pytest.mark.parametrize("opset", [9, 13])
def test_concat_of_any_sizes(opset) -> None:
    inputs = {"x": noise(2, 3), "u": noise(2, 4, seed=1)}
    model = model_of("y = Concat<axis=1>(x, u, x)", inputs, {}, opset=opset, free=True)
    check(model, inputs, ["x", "u"], {"x": noise(2, 5), "u": noise(2, 1)})
