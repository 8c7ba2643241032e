"""Which inputs carry what went before, and along which axis."""

from __future__ import annotations

from onnx import TensorProto

from spa_cli.graph.view import build as view
from spa_cli.runtime.caches import is_state, new_length, past_length, pasts
from tests.builders import build
from tests.calibration.graphs import graph
from tests.decoders import decoder, streaming

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
KEY = "past_key_values.0.key"


def test_a_cache_is_as_long_as_its_past_on_the_one_axis_that_is_free() -> None:
    assert pasts(view(decoder("genai"), "")) == {KEY: 2, "past_key_values.0.value": 2}
    found = pasts(
        graph(
            input_ids=(INT, ["batch", "s"]),
            encoder_hidden_states=(FLOAT, ["batch", "encoder_sequence_length", 8]),
            **{
                "past_key_values.0.decoder.key": (FLOAT, ["batch", 2, "past_decoder_sequence_length", 4]),
                "past_key_values.0.encoder.key": (FLOAT, ["batch", 2, "encoder_sequence_length", 4]),
                "past": (FLOAT, [6, 2, "batch", 2, "past_len", 4]),
                "fixed_cache": (FLOAT, ["batch", 2, 64, 4]),
                "kv_cache": (INT, ["batch", 2, "n", 4]),
            },
        )
    )
    assert found == {"past_key_values.0.decoder.key": 2, "past": 4}


def test_states_by_name_by_recurrent_layers_and_by_windows_that_are_given_back() -> None:
    model = view(streaming(), "")
    assert [name for name in model.inputs if is_state(model, name)] == ["a", "b"]
    rolling = view(
        build(
            """(float[1,3,5] x, float[1,3,4] r, float[1,3,9] z) => (y, float[1,3,4] n, float[1,3,9] o) {
              c = Concat<axis=2>(r, x)  y = Conv(c, w)  n = Slice(c, start, end, axes)  o = Add(z, c)
            }""",
            w=(4, 3, 3), start=[-4], end=[99], axes=[2],
        ),
        "",
    )  # fmt: skip
    assert [name for name in rolling.inputs if is_state(rolling, name)] == ["r"]
    assert is_state(graph(h0=(FLOAT, [1, "n", 8])), "h0")
    assert not is_state(graph(h0=(INT, [1, "n", 8])), "h0")
    # what is called a state comes back as one, if it is no state of a game
    for after, so in (("float[2,N,8] b", True), ("b", True), ("float[N] b", False)):
        model = build(f"(float[2,N,8] state, float[N,8] x) => ({after}) {{ b = Add(state, x) }}")
        assert is_state(view(model, ""), "state") is so
    # what an encoder gave
    for name in ("encoder_hidden_states", "hidden_states"):
        assert not is_state(graph(**{name: (FLOAT, ["n", 4, 8])}), name)


def test_lengths_of_past_and_of_what_is_new() -> None:
    model = view(decoder("optimum"), "")
    shapes = {"input_ids": (1, 7), KEY: (1, 2, 3, 4), "past_key_values.0.value": (1, 2, 3, 4)}
    assert (past_length(model, shapes), new_length(model, shapes)) == (3, 7)
    assert (past_length(graph(x=(FLOAT, ["n", 3])), {"x": (1, 3)}), new_length(model, {"x": (1, 3)})) == (None, None)
    both = graph(input_ids=(INT, ["b", "s"]), decoder_input_ids=(INT, ["b", "t"]))
    assert new_length(both, {"input_ids": (1, 9), "decoder_input_ids": (1, 4)}) == 4
