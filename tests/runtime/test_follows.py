"""Inputs whose values follow from the shapes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from spa_cli.graph.view import build as view
from spa_cli.runtime.follows import follows
from spa_cli.runtime.made_up import synthetic
from spa_cli.runtime.session import open_session, run
from tests.calibration.graphs import graph
from tests.decoders import decoder

INT, BOOL, FLOAT = TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT
KEY = "past_key_values.0.key"


@pytest.mark.parametrize(
    ("name", "declared", "shape", "wanted"),
    [
        ("position_ids", (INT, ["b", "s"]), (1, 4), [3, 4, 5, 6]),
        ("seqlens_k", (TensorProto.INT32, ["b"]), (1,), 6),
        ("total_sequence_length", (TensorProto.INT32, []), (), 7),
        ("past_sequence_length", (TensorProto.INT32, [1]), (1,), 3),
        ("use_cache_branch", (BOOL, [1]), (1,), True),
        ("num_logits_to_keep", (INT, []), (), 0),
        ("other", (INT, ["b"]), (1,), None),
        ("position_ids", (FLOAT, ["b", "s"]), (1, 4), None),
    ],
)
def test_each(name, declared, shape, wanted) -> None:
    model = graph(input_ids=(INT, ["b", "s"]), past_key=(FLOAT, ["b", 2, "past", 4]), **{name: declared})
    found = follows(model, name, {"input_ids": (1, 4), "past_key": (1, 2, 3, 4), name: shape})
    assert (None if found is None else found.value.tolist()) == wanted


def test_no_cache_is_used_where_there_is_no_past() -> None:
    model = graph(past_key=(FLOAT, ["b", 2, "past", 4]), use_cache_branch=(BOOL, [1]))
    found = follows(model, "use_cache_branch", {"past_key": (1, 2, 0, 4), "use_cache_branch": (1,)})
    assert found is not None
    assert not found.value


@pytest.mark.parametrize("past", [0, 3])
def test_a_decoder_runs_on_what_follows(past) -> None:
    model = decoder("lengths")
    # onnxruntime takes a past with one new token, or one sample
    shapes = {"input_ids": (1, 1), "position_ids": (1, 1), "seqlens_k": (1,), "total_sequence_length": ()}
    shapes |= dict.fromkeys((KEY, "past_key_values.0.value"), (1, 2, past, 16))
    feeds = synthetic(view(model, ""), shapes)
    assert feeds["position_ids"].tolist() == [[past]]
    assert np.shape(run(open_session(model), feeds)[1]) == (1, 2, past + 1, 16)
