"""States that lost channels: narrower, wider, in JSON, in notes."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from spa_cli.graph.states import State, narrowed, narrowed_shapes, noted
from tests.builders import build

STATE = State("h0", "hn", {1: (0, 3), 2: (1,)}, {1: 4, 2: 3})


def _model(**notes: object) -> onnx.ModelProto:
    model = build("(float[1,2,8] h0, float[1,1,2] c0) => (hn, cn) { hn = Relu(h0)  cn = Relu(c0) }")
    for key, value in notes.items():
        model.metadata_props.add(
            key=key.replace("_", "."), value=value if isinstance(value, str) else json.dumps(value)
        )
    return model


def test_what_is_gone_is_left_out_and_comes_back_as_zero() -> None:
    value = np.arange(24.0).reshape(2, 4, 3)
    thin = STATE.narrowed(value)
    np.testing.assert_array_equal(thin, value[:, [0, 3]][:, :, [1]])
    wide = STATE.widened(thin)
    assert wide.shape == value.shape
    np.testing.assert_array_equal(STATE.narrowed(wide), thin)
    assert np.count_nonzero(wide) == thin.size
    # what is as narrow already stays
    np.testing.assert_array_equal(STATE.narrowed(thin), thin)


def test_only_states_are_narrowed() -> None:
    feeds = {"x": np.ones((2, 4, 3)), "h0": np.ones((2, 4, 3))}
    assert {n: v.shape for n, v in narrowed(feeds, [STATE]).items()} == {"x": (2, 4, 3), "h0": (2, 2, 1)}
    assert narrowed_shapes({"x": (2, 4), "h0": (2, 4, 3)}, [STATE]) == {"x": (2, 4), "h0": (2, 2, 1)}
    assert narrowed_shapes({"x": (2, 4)}, [STATE]) == {"x": (2, 4)}


def test_json_there_and_back() -> None:
    assert State.of_json(json.loads(json.dumps(STATE.to_json()))) == STATE


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        [],
        {"input": 1, "output": "hn", "axes": {}},
        {"input": "h0", "output": "hn", "axes": {"1": {"of": 4, "kept": []}}},
        {"input": "h0", "output": "hn", "axes": {"1": {"of": 4, "kept": [4]}}},
        {"input": "h0", "output": "hn", "axes": {"1": {"of": 4, "kept": [-1]}}},
        {"input": "h0", "output": "hn", "axes": {"one": {"of": 4, "kept": [1]}}},
        {"input": "h0", "output": "hn", "axes": {"1": {"of": 4, "kept": [10**30]}}},
        {"input": "h0", "output": "hn", "axes": {"1": {"of": 4, "kept": [[1], [2]]}}},
        {"input": "h0", "output": "hn", "axes": {"1": {"of": 4, "kept": [1], "along": 0}}},
        {"input": "h0", "output": "hn", "axes": {"1": {"of": 4, "kept": [[1, 2], [3]], "along": 0}}},
        {"input": "h0", "output": "hn", "axes": {"1": {"of": 4, "kept": [[1], [3]], "along": 1}}},
        {"input": "h0", "output": "hn", "axes": {"1": {"of": 4, "kept": [[1], [3]], "along": -1}}},
    ],
)
def test_what_is_no_state_is_told_apart(wrong) -> None:
    assert State.of_json(wrong) is None


def test_notes_add_up() -> None:
    once = State("h0", "hn", {2: (1, 3, 5, 7)}, {2: 8})
    twice = State("h0", "hn", {2: (0, 3), 1: (0,)}, {2: 4, 1: 2})
    other = State("c0", "cn", {2: (0,)}, {2: 2})
    first = {"states": [once.to_json()]}
    second = {"states": [twice.to_json(), other.to_json()]}
    found = noted(_model(spa=first, spa_2=second, spa_10={"states": []}, author="me"), _model())
    assert found == (State("h0", "hn", {2: (1, 7), 1: (0,)}, {2: 8, 1: 2}), other)
    # what the original's own file says was before it, when it had other sizes
    assert noted(_model(spa=first, spa_2=second), _model(spa=first)) == (other,)


@pytest.mark.parametrize(
    "wrong",
    [
        State("q", "hn", {2: (1,)}, {2: 8}),
        State("h0", "hn", {9: (1,)}, {9: 8}),
        State("h0", "q", {}, {}),
        State("h0", "hn", {2: ((1,),) * 3}, {2: 8}, {2: 1}),
        State("h0", "hn", {2: ((1,),) * 2}, {2: 8}, {2: 9}),
    ],
)
def test_what_the_original_does_not_have_was_not_cut(wrong) -> None:
    assert noted(_model(spa={"states": [wrong.to_json()]}), _model()) == ()


@pytest.mark.parametrize("wrong", ["no JSON", "[]", '{"states": 3}', '{"states": [{"input": "h0"}]}'])
def test_what_is_no_note_says_nothing(wrong) -> None:
    assert noted(_model(spa=wrong), _model()) == ()


# of four heads of five dimensions three, the first of them without its last, the others without their first
HEADS = State("k", "k2", {1: (0, 2, 3), 2: ((0, 1, 2, 3), *[(1, 2, 3, 4)] * 3)}, {1: 4, 2: 5}, {2: 1})


def test_every_head_may_keep_other_dimensions() -> None:
    value = np.arange(40.0).reshape(2, 4, 5) + 1
    thin = HEADS.narrowed(value)
    expected = [value[:, 0, :4], value[:, 2, 1:], value[:, 3, 1:]]
    np.testing.assert_array_equal(thin, np.stack(expected, 1))
    wide = HEADS.widened(thin)
    assert wide.shape == value.shape == (2, 4, 5) and HEADS.shape(value.shape) == thin.shape
    np.testing.assert_array_equal(wide[wide != 0], value[wide != 0])
    np.testing.assert_array_equal(HEADS.narrowed(wide), thin)
    assert State.of_json(json.loads(json.dumps(HEADS.to_json()))) == HEADS
    # the axis that tells may come behind
    turned = State("k", "k2", {2: HEADS.kept[1], 1: HEADS.kept[2]}, {2: 4, 1: 5}, {1: 2})
    np.testing.assert_array_equal(turned.narrowed(value.swapaxes(1, 2)), thin.swapaxes(1, 2))
    np.testing.assert_array_equal(turned.widened(thin.swapaxes(1, 2)), wide.swapaxes(1, 2))


@pytest.mark.parametrize(
    "later",
    [
        State("k", "k2", {2: (0, 3)}, {2: 4}),
        State("k", "k2", {1: (1, 2)}, {1: 3}),
        State("k", "k2", {2: ((0, 1), (1, 2), (2, 3))}, {2: 4}, {2: 1}),
        State("k", "k2", {1: (2,), 2: ((0, 1), (1, 2), (2, 3))}, {1: 3, 2: 4}, {2: 1}),
    ],
)
@pytest.mark.parametrize("first", [HEADS, State("k", "k2", {1: (0, 2, 3), 2: (0, 1, 2, 4)}, {1: 4, 2: 5})])
def test_two_cuts_of_heads_are_one(first, later) -> None:
    value = np.arange(40.0).reshape(2, 4, 5) + 1
    both = first.after(later)
    np.testing.assert_array_equal(both.narrowed(value), later.narrowed(first.narrowed(value)))
    thin = both.narrowed(value)
    np.testing.assert_array_equal(both.widened(thin), first.widened(later.widened(thin)))
    assert State.of_json(both.to_json()) == both
