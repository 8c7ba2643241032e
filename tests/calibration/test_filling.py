"""Inputs that samples lack and need not hold: caches, states, masks, positions."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.calibration.check import checked
from spa_cli.calibration.filling import alone, filled, needed
from spa_cli.calibration.read import read_samples
from spa_cli.calibration.reading import Reading
from spa_cli.errors import UsageError
from spa_cli.graph.model import Graph
from spa_cli.graph.view import build as view
from tests.builders import build, doubts
from tests.calibration.graphs import graph
from tests.calibration.words import word_level
from tests.decoders import decoder, merged, streaming

KEY = "past_key_values.0.key"
DIMS = {"optimum": 4, "genai": 16, "lengths": 16}
EMPTY = f"an empty past ({KEY} and 1 more)"
IDS = np.random.default_rng(0).integers(0, 24, (12, 6))


@pytest.mark.parametrize("kind", ["optimum", "genai", "lengths"])
def test_text_is_enough_for_a_decoder_with_a_cache(kind, tmp_path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("the cat sat\nthe dog\nthe dog sat\ncat\n" * 3)
    tokenizer = word_level(tmp_path / "tokenizer.json")
    found = read_samples(lines, view(decoder(kind), ""), Reading(tokenizer=tokenizer))
    assert found.data[KEY].shape[:3] == (12, 2, 0)
    assert found.about.endswith(EMPTY)
    result = spa_cli.prune(decoder(kind), target_macs=0.8, calib=lines, tokenizer=tokenizer)
    assert not doubts(result)
    assert result.plan.about["repair"]["refitted"]
    assert EMPTY in result.plan.about["repair"]["calibration"]


@pytest.mark.parametrize("kind", ["optimum", "genai", "lengths"])
def test_without_data_a_past_is_empty_too(kind) -> None:
    result = spa_cli.prune(decoder(kind), ratio=0.3, calib_samples=16, input_shape=f"{KEY}:1,2,0,{DIMS[kind]}")
    assert not doubts(result)
    shapes = result.analysis.input_shapes
    assert (shapes["input_ids"], shapes[KEY]) == ((1, 16), (1, 2, 0, DIMS[kind]))
    assert f"{KEY} and 1 more: an empty past" in result.plan.about["repair"]["calibration"]


def test_masks_positions_and_lengths_fit_tokens(tmp_path) -> None:
    np.savez(tmp_path / "ids.npz", input_ids=IDS)
    found = read_samples(str(tmp_path / "ids.npz"), view(decoder("optimum"), ""))
    assert found.data["attention_mask"].tolist() == [[1] * 6] * 12
    assert found.data["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5]] * 12
    assert found.about.endswith(f"filled in: ones (attention_mask), positions in order (position_ids), {EMPTY}")
    found = read_samples(str(tmp_path / "ids.npz"), view(decoder("lengths", positions=False), ""))
    assert (found.data["seqlens_k"].tolist(), found.data["total_sequence_length"].tolist()) == ([5] * 12, [6] * 12)
    # the one input that is needed goes without its name
    np.save(tmp_path / "ids.npy", IDS)
    assert (
        read_samples(str(tmp_path / "ids.npy"), view(decoder("genai"), "")).data["input_ids"].tolist() == IDS.tolist()
    )
    assert read_samples(lambda: IDS, view(decoder("genai"), "")).data[KEY].shape == (12, 2, 0, 16)


def test_a_longer_mask_says_how_much_went_before() -> None:
    arrays, about = filled({"input_ids": IDS, "attention_mask": np.ones((12, 9))}, view(decoder("optimum"), ""))
    assert arrays[KEY].shape == (12, 2, 3, 4)
    assert arrays["position_ids"][0].tolist() == [3, 4, 5, 6, 7, 8]
    assert "positions from 3 on (position_ids), a past of length 3, zeros" in about


def test_the_mask_of_an_encoder_says_nothing_of_the_past() -> None:
    given = {"input_ids": IDS, "encoder_attention_mask": np.ones((12, 9)), "encoder_hidden_states": np.ones((12, 9, 8))}
    inputs = {
        "input_ids": (onnx.TensorProto.INT64, ["b", "s"]),
        "encoder_attention_mask": (onnx.TensorProto.INT64, ["b", "e"]),
        "encoder_hidden_states": (onnx.TensorProto.FLOAT, ["b", "e", 8]),
        KEY: (onnx.TensorProto.FLOAT, ["b", 2, "past", 4]),
    }
    arrays, about = filled(given, graph(**inputs))
    assert (arrays[KEY].shape, arrays["encoder_attention_mask"].shape) == ((12, 2, 0, 4), (12, 9))
    assert about == f", filled in: an empty past ({KEY})"


def refusing() -> Graph:
    """A decoder that looks at the first position of its past: onnxruntime runs it on no empty one."""
    model = decoder("optimum")
    values = {"first": np.array([0]), "nothing": np.zeros(1, np.float32)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in values.items())
    for node in model.graph.node:
        node.input[:] = ["key" if name == KEY else name for name in node.input]
    calls = [("Gather", KEY, "first", "at"), ("Mul", "at", "nothing", "none"), ("Add", KEY, "none", "key")]
    for place, (op, x, y, out) in enumerate(calls):
        axis = {"axis": 2} if op == "Gather" else {}
        model.graph.node.insert(place, onnx.helper.make_node(op, [x, y], [out], **axis))
    return view(model, "")


def test_where_no_past_does_not_run_it_is_as_short_as_runs() -> None:
    given = {
        "input_ids": IDS[:, :4],
        "attention_mask": np.ones((12, 4)),
        "position_ids": np.tile(np.arange(4), (12, 1)),
    }
    arrays, about = filled(given, refusing())
    assert arrays[KEY].shape == (12, 2, 1, 4)
    assert arrays["attention_mask"].tolist() == [[1] * 5] * 12
    assert arrays["position_ids"].tolist() == [[1, 2, 3, 4]] * 12
    assert about == f", filled in: a past of length 1, zeros ({KEY} and 1 more)"


def test_without_data_too_a_past_is_as_short_as_runs() -> None:
    result = spa_cli.prune(refusing().model, ratio=0.3, calib_samples=16)
    assert result.analysis.input_shapes[KEY] == (1, 2, 1, 4)
    assert result.analysis.input_shapes["attention_mask"] == (1, 17)
    assert f"{KEY} and 1 more: a past of length 1: zeros and noise" in result.plan.about["repair"]["calibration"]


def test_a_decoder_of_two_branches_takes_the_one_without_a_cache() -> None:
    result = spa_cli.prune(merged(), ratio=0.3, calib_samples=16)
    assert not doubts(result)
    assert f"use_cache_branch: False; {KEY} and 1 more: an empty past" in result.plan.about["repair"]["calibration"]
    arrays, about = filled({"input_ids": IDS}, view(merged(), ""))
    assert arrays["use_cache_branch"].shape == (12,)
    assert not arrays["use_cache_branch"].any()
    assert about.endswith(f"ones (attention_mask), False (use_cache_branch), {EMPTY}")


def test_states_of_a_fixed_size_are_zeros(tmp_path) -> None:
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).normal(size=(9, 4, 6)))
    found = read_samples(str(tmp_path / "frames.npy"), view(streaming(), ""))
    assert found.data["a"].shape == (9, 1, 8)
    assert not found.data["b"].any()
    assert found.about.endswith(", filled in: a state of zeros (a and 1 more)")


def test_what_nothing_is_known_of_is_needed() -> None:
    graph = view(build("(float[N,4] x, float[N,4] z, float[N,4] mask) => (y) { a = Add(x, z)  y = Mul(a, mask) }"), "")
    assert (needed(graph), alone(graph)) == (["x", "z"], None)
    assert (alone(view(decoder("genai"), "")), alone(view(streaming(), ""))) == ("input_ids", "frames")
    pictures = view(build("(float[N,3,8,8] image, float[N,1,8,8] mask) => (y) { y = Mul(image, mask) }"), "")
    assert needed(pictures) == ["image", "mask"]
    arrays, about = filled({"x": np.ones((3, 4))}, graph)
    assert ([*arrays], about) == (["x"], "")
    with pytest.raises(UsageError, match="lacks input 'z', it has x; name its arrays as the inputs"):
        checked(arrays, graph, "it")
