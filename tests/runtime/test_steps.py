"""What a model takes next, its states fed back."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.analysis import analyse_model
from spa_cli.runtime.load import load
from spa_cli.runtime.made_up import synthetic
from spa_cli.runtime.session import open_session, run
from spa_cli.runtime.steps import next_feeds
from tests.decoders import decoder, streaming


@pytest.mark.parametrize("kind", ["optimum", "genai", "lengths"])
def test_a_cache_grows_by_a_token_and_all_else_with_it(kind) -> None:
    source = load(decoder(kind))
    analysis = analyse_model(source, {}, shrinking=())
    session, graph = open_session(source), analysis.graph
    feeds = synthetic(graph, analysis.input_shapes)
    new = feeds["input_ids"].shape[1]
    for length in range(new, new + 4):
        outputs = dict(zip(graph.outputs, run(session, feeds), strict=True))
        feeds = next_feeds(graph, analysis.pairs, feeds, outputs)
        assert feeds["past_key_values.0.key"] is outputs["present.0.key"]
        assert feeds["past_key_values.0.key"].shape[2] == length
        assert feeds["input_ids"].shape == (1, 1)
        assert feeds["position_ids"].tolist() == [[length]]
        if kind == "lengths":
            assert (feeds["seqlens_k"].tolist(), int(feeds["total_sequence_length"])) == ([length], length + 1)
        else:
            assert feeds["attention_mask"].tolist() == [[1] * (length + 1)]


def test_states_of_one_size_are_fed_back_beside_other_values() -> None:
    source = load(streaming())
    analysis = analyse_model(source, {}, shrinking=())
    feeds = synthetic(analysis.graph, analysis.input_shapes)
    outputs = dict(zip(analysis.graph.outputs, run(open_session(source), feeds), strict=True))
    found = next_feeds(analysis.graph, analysis.pairs, feeds, outputs)
    assert found["a"] is outputs["an"]
    assert found["b"] is outputs["bn"]
    assert not np.array_equal(found["frames"], feeds["frames"])
    assert found["frames"].shape == feeds["frames"].shape
