"""MatMulNBits: outputs go one by one, inputs in the blocks that share a scale."""

import numpy as np
import pytest

from tests.builders import build, case, frozen, roles
from tests.equivalence import assert_groups

TEXT = """(float[N,64] x) => (float[N,4] y) {{
  a = com.microsoft.MatMulNBits<K=64, N=64, bits=4, block_size=16>(x, b1, s1)
  h = Relu(a)
  c = com.microsoft.MatMulNBits<K=64, N=6, bits=4, block_size=16>(h, b2, s2{zero})
  y = MatMul(c, wo)
}}"""
RNG = np.random.default_rng(0)
B2 = RNG.integers(0, 255, (6, 4, 8)).astype(np.uint8)
WEIGHTS = {
    "b1": RNG.integers(0, 255, (64, 4, 8)).astype(np.uint8),
    "s1": RNG.random((64, 4)).astype(np.float32) / 10,
    "b2": B2,
    "s2": RNG.random((6, 4)).astype(np.float32) / 10,
    "wo": (6, 4),
}


def packed(name, zero, expected, **changed) -> object:
    return case(name, TEXT.format(zero=zero), expected, {}, domains={"com.microsoft": 1}, **(WEIGHTS | changed))


CASES = [
    packed("scales per block", "", ["4: b1:0*16 b2:1 s1:0*16 s2:1", "6: b2:0 s2:0 wo:0"]),
    packed(
        "scales in one line",
        "",
        ["4: b1:0*16 b2:1 s1:0*64 s2:0*6", "6: b2:0 s2:0*4 wo:0"],
        s1=WEIGHTS["s1"].ravel(),
        s2=WEIGHTS["s2"].ravel(),
    ),
    packed(
        "zero points that share bytes tie their blocks together",
        ", z2",
        ["2: b1:0*32 b2:1*2 s1:0*32 s2:1*2 z2:1", "6: b2:0 s2:0 wo:0 z2:0"],
        z2=RNG.integers(0, 255, (6, 2)).astype(np.uint8),
    ),
    packed(
        "zero points as numbers",
        ", z2",
        ["4: b1:0*16 b2:1 s1:0*16 s2:1 z2:1", "6: b2:0 s2:0 wo:0 z2:0"],
        z2=(8 * RNG.random((6, 4))).astype(np.float32),
    ),
    packed(
        "a bias",
        ", , , bias",
        ["4: b1:0*16 b2:1 s1:0*16 s2:1", "6: b2:0 bias:0 s2:0 wo:0"],
        bias=(6,),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_groups(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def test_the_scales_speak_for_the_bytes() -> None:
    found = roles(build(TEXT.format(zero=""), domains={"com.microsoft": 1}, **WEIGHTS))
    assert found["s1:0"] == "producer"
    assert found["s2:1"] == "consumer"
    assert found["b1:0"] == found["b2:1"] == "pass-through"


def test_a_padded_last_block_keeps_the_inputs() -> None:
    model = build(
        """(float[N,40] x) => (float[N,4] y) {
          h = MatMul(x, wx)
          c = com.microsoft.MatMulNBits<K=40, N=6, bits=4, block_size=16>(h, b, s)
          y = MatMul(c, wo)
        }""",
        domains={"com.microsoft": 1},
        wx=(40, 40),
        b=RNG.integers(0, 255, (6, 3, 8)).astype(np.uint8),
        s=RNG.random((6, 3)).astype(np.float32),
        wo=(6, 4),
    )
    assert_groups(model, ["6: b:0 s:0 wo:0"])
    assert frozen(model)["wx:1"] == "is packed in blocks that share a scale"
