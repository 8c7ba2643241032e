"""Sizes of free dimensions: a past that is empty first, and what adds up."""

from __future__ import annotations

import pytest
from onnx import TensorProto

from spa_cli.graph.view import build as view
from spa_cli.runtime.dimensions import input_shapes, other_sizes
from tests.calibration.graphs import graph
from tests.decoders import decoder

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
KEY, VALUE = "past_key_values.0.key", "past_key_values.0.value"


@pytest.mark.parametrize(("kind", "dims"), [("optimum", 4), ("genai", 16)])
def test_a_past_is_empty_first_and_totals_fit_it(kind, dims) -> None:
    tried = input_shapes(view(decoder(kind), ""), {})
    for past in (0, 1, 16):
        shapes = next(tried)
        assert shapes["input_ids"] == shapes["position_ids"] == (1, 16)
        assert shapes[KEY] == shapes[VALUE] == (1, 2, past, dims)
        assert shapes["attention_mask"] == (1, 16 + past)


def test_given_shapes_and_samples_decide_what_has_their_names() -> None:
    model = view(decoder("genai"), "")
    shapes = next(input_shapes(model, {"input_ids": (3, 5), KEY: (3, 2, 7, 16)}))
    assert shapes["attention_mask"] == (3, 12)
    assert shapes[VALUE] == (3, 2, 7, 16)
    assert next(input_shapes(model, {}, {"input_ids": (5,), KEY: (2, 0, 16)}))["attention_mask"] == (1, 5)


def test_names_that_are_sums_and_products() -> None:
    model = graph(
        input_ids=(INT, ["b", 1]),
        attention_mask=(INT, ["b", "past + 1"]),
        bias=(FLOAT, ["2*b", "length", "past + unknown"]),
        cache=(FLOAT, ["b", 2, "past", 4]),
    )
    *_, shapes = [s for s, _ in zip(input_shapes(model, {}), range(3), strict=False)]
    assert shapes["attention_mask"] == (1, 17)
    assert shapes["bias"] == (2, 16, 16)
    anonymous = graph(input_ids=(INT, ["", ""]), attention_mask=(INT, ["", ""]), cache=(FLOAT, ["", 2, "", 4]))
    assert next(input_shapes(anonymous, {}))["attention_mask"] == (1, 16)


def test_other_sizes_fit_each_other_too() -> None:
    model = view(decoder("optimum"), "")
    first = next(input_shapes(model, {}))
    other = other_sizes(model, first)
    assert other["input_ids"] == (2, 32)
    assert other[KEY] == (2, 2, 3, 4)
    assert other["attention_mask"] == (2, 35)
    shorter = other_sizes(model, first, longer=False)
    assert (shorter["input_ids"], shorter["attention_mask"], shorter[KEY][2]) == ((2, 8), (2, 11), 3)
    fixed = graph(x=(FLOAT, [2, 3]), y=(FLOAT, ["n", "total", ""]))
    assert other_sizes(fixed, {"x": (2, 3), "y": (4, 5, 6)}) == {"x": (2, 3), "y": (5, 10, 12)}
