"""What an input is taken for: one case a rule."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.calibration.kinds import Input
from spa_cli.calibration.rules import RULES, kind_of
from spa_cli.graph.view import build as view
from tests.builders import build

RELU = "y = Relu({})"
READ = "y = Cast<to=1>({})"
TABLE = "a = Gather(w, {})  y = Cast<to=1>(a)"
# type, name, how it is read, what it is taken for, and what all samples have to be
CASES = {
    "_strings": ("string[N,3]", "x", "y = Identity({})", "constant strings", lambda v: (v == "a").all()),
    "_followers": ("int64[N,7]", "position_ids", TABLE, "positions in order", lambda v: (v == np.arange(7)).all()),
    "_switches": ("bool", "on", READ, "true and false", lambda v: {*v.ravel().tolist()} == {0, 1}),
    "_masks": ("float[N,7]", "attention_mask", RELU, "ones", lambda v: (v == 1).all()),
    "_rates": ("int64", "sr", READ, "16000 Hz", lambda v: (v == 16000).all()),
    "_lengths": ("int64[N]", "seq_len", READ, "length 19", lambda v: (v == 19).all()),
    "_segments": ("int64[N,7]", "token_type_ids", TABLE, "zeros, then ones", lambda v: (np.diff(v) >= 0).all()),
    "_times": ("int64[N]", "timestep", READ, "steps below 1000", lambda v: 0 <= v.min() < 300 < v.max() < 1000),
    "_shares": ("float", "score_threshold", RELU, "numbers between 0 and 1", lambda v: 0 <= v.min() < v.max() < 1),
    "_states": ("float[N,2,4,9]", "past_keys.0", RELU, "a state: zeros and noise", lambda v: not v[::2].any()),
    "_tokens": ("int32[N,6]", "ids", TABLE, "Zipf tokens below 50", lambda v: 0 <= v.min() < v.max() < 50),
    "_pictures": ("uint8[N,16,16,3]", "x", READ, "dead leaves, pixels 0 to 255 (uint8; Cast)", lambda v: v.max() > 200),
    "_sounds": ("float[N,16000]", "waveform", RELU, "1/f noise between -1 and 1", lambda v: abs(v).max() <= 1),
    "_vectors": (
        "float[N,2]", "obs", "a = Sub({}, m)  y = Div(a, d)",
        "normal noise of the stored mean and deviation (Sub 5 6, Div 2 3)", lambda v: abs(v.mean(0) - [5, 6]).max() < 2,
    ),
    "_quantised": (
        "float[N,5]", "x", "y = QuantizeLinear({}, s, z)",
        "normal and uniform noise between -20 and 490 (QuantizeLinear)", lambda v: -20 <= v.min() < v.max() <= 490,
    ),
    "_frames": ("float[N,40,24]", "mels", RELU, "noise smooth over frames and features", lambda v: v.std() > 0.5),
    "_signals": ("float[N,1,512]", "x", RELU, "1/f noise", lambda v: v.min() < 0),
    "_anything": ("float[N,6]", "x", RELU, "normal and uniform noise", lambda v: v.min() < 0),
    "_integers": ("int64[N,6]", "x", READ, "Zipf tokens below 2", lambda v: {*v.ravel().tolist()} == {0, 1}),
}  # fmt: skip


@pytest.mark.parametrize("rule", CASES)
def test_every_rule_has_its_input(rule) -> None:
    declared, name, read, about, holds = CASES[rule]
    values = {"w": (50, 4), "m": np.float32([5, 6]), "d": np.float32([2, 3]), "s": 2.0, "z": np.array(10, np.uint8)}
    text = read.format(name if name.isidentifier() else "x")
    used = {k: v for k, v in values.items() if f" {k}" in text or f"({k}," in text}
    model = build(f"({declared} {name if name.isidentifier() else 'x'}) => (y) {{ {text} }}", **used)
    if not name.isidentifier():
        model.graph.input[0].name = model.graph.node[0].input[0] = name
    shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)[1:]
    asked = Input(view(model, ""), name, shape, ((19, 8), (3,)))
    kind = kind_of(asked)
    assert kind.about == about
    assert next(r.__name__ for r in RULES if r(asked) is not None) == rule
    drawn = kind.draw(32, shape, np.random.default_rng(0))
    assert drawn.shape == (32, *shape)
    assert holds(drawn)


def test_every_rule_has_a_case() -> None:
    assert [rule.__name__ for rule in RULES] == [*CASES]


def test_tokens_stay_below_the_smallest_table_directly_or_behind_a_cast_or_in_classes() -> None:
    def size(text: str, **arrays: object) -> str:
        model = build(f"(int32[N,6] x) => (y) {{ {text} }}", **arrays)
        return kind_of(Input(view(model, ""), "x", (6,))).about

    both = "c = Cast<to=7>(x)  a = Gather(w, c)  b = Gather(k, c)  y = Add(a, b)"
    assert size(both, w=(50, 8), k=(9, 8)) == "Zipf tokens below 9"
    spread = "c = Cast<to=7>(x)  y = OneHot(c, n, v)"
    assert size(spread, n=np.array(257), v=np.float32([0, 1])) == "Zipf tokens below 257"
