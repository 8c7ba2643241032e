"""What was pruned at both ends of its states: written, verified, applied, pruned again, tuned; and what is refused."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.errors import OptionError, UsageError
from spa_cli.graph.states import noted
from spa_cli.runtime.session import open_session, run
from spa_cli.verification import loop
from tests.decoders import decoder, streaming


def _sizes(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    return {
        v.name: [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.input, *model.graph.output)
    }


def test_both_ends_are_narrower_and_everybody_says_so(tmp_path) -> None:
    onnx.save(streaming(), tmp_path / "model.onnx")
    plan, out = tmp_path / "plan.json", tmp_path / "small.onnx"
    result = spa_cli.prune(
        tmp_path / "model.onnx", out, states="shrink", ratio=0.3, max_group_ratio=0.5, plan_out=plan, calib_samples=16
    )
    sizes = _sizes(onnx.load(out))
    (width,) = {sizes[n][2] for n in ("a", "b", "an", "bn")}
    assert width < 8
    assert sizes["frames"] == [1, 4, 6]
    told = result.plan.about["states"]
    assert [(s["input"], s["output"]) for s in told] == [("a", "an"), ("b", "bn")]
    assert all(s["axes"]["2"]["of"] == 8 and len(s["axes"]["2"]["kept"]) == width for s in told)
    assert json.loads(plan.read_text())["states"] == told
    assert [s.to_json() for s in noted(onnx.load(out), streaming())] == told
    # a stranger who knows the original
    found = spa_cli.verify(tmp_path / "model.onnx", out)
    assert [one.outputs for one in found.drift.outputs] == [("y",)]
    applied = spa_cli.apply(plan, tmp_path / "model.onnx", tmp_path / "applied.onnx")
    assert _sizes(applied.model) == sizes
    assert found.params[1] == result.after.params == applied.after.params
    assert spa_cli.verify(tmp_path / "model.onnx", tmp_path / "applied.onnx", plan=plan).zeroing == "equal"
    # once more, and trained
    again = spa_cli.prune(
        out, tmp_path / "again.onnx", states="shrink", ratio=0.3, max_group_ratio=0.5, calib_samples=16
    )
    assert _sizes(again.model)["a"][2] < width
    spa_cli.verify(tmp_path / "model.onnx", tmp_path / "again.onnx")
    tuned = spa_cli.tune(
        tmp_path / "again.onnx", tmp_path / "model.onnx", tmp_path / "tuned.onnx", epochs=1, samples=32
    )
    assert _sizes(tuned.model) == _sizes(again.model)


def test_without_it_states_keep_their_shapes() -> None:
    result = spa_cli.prune(streaming(), ratio=0.3, calib_samples=16)
    assert _sizes(result.model) == _sizes(streaming())
    assert "states" not in result.plan.about


@pytest.mark.parametrize("kind", ["optimum", "genai"])
def test_a_pruned_decoder_gives_the_same_with_and_without_its_cache(kind) -> None:
    # shapes of tokens are free: positions up to the table's end
    result = spa_cli.prune(decoder(kind), ratio=0.5, states="shrink", calib_samples=16)
    assert {s["input"] for s in result.plan.about["states"]} == {f"past_key_values.0.{n}" for n in ("key", "value")}
    session, ids = open_session(result.model), np.random.default_rng(0).integers(0, 24, (1, 12))
    empty = {i.name: i.shape for i in session.get_inputs() if i.name.startswith("past")}
    past = {n: np.zeros((1, *s[1:2], 0, s[3]), np.float32) for n, s in empty.items()}
    whole = run(session, _tokens(ids, 0) | past)[0]
    steps = []
    for at in range(ids.shape[1]):
        logits, *present = run(session, _tokens(ids[:, at : at + 1], at) | past)
        steps.append(logits)
        past = dict(zip(past, present, strict=True))
    # without a causal mask only the last token sees what it sees in one run
    seen = slice(-1, None) if kind == "optimum" else slice(None)
    np.testing.assert_allclose(np.concatenate(steps, 1)[:, seen], whole[:, seen], atol=1e-4 * np.abs(whole).max())


def _tokens(ids: np.ndarray, before: int) -> dict[str, np.ndarray]:
    length = before + ids.shape[1]
    return {
        "input_ids": ids,
        "attention_mask": np.ones((1, length), np.int64),
        "position_ids": np.arange(before, length)[None],
    }


def test_what_differs_only_later_is_found(monkeypatch) -> None:
    following = loop.next_feeds

    def forgetting(graph, pairs, feeds, outputs):
        # what the original is fed is not what it gave
        return {**following(graph, pairs, feeds, outputs), "a": outputs["an"] * 2}

    monkeypatch.setattr(loop, "next_feeds", forgetting)
    result = spa_cli.prune(streaming(), ratio=0.5, states="shrink", method="l2")
    (warning,) = (w for w in result.warnings if "was left whole" in w)
    assert warning.startswith("group 'w' was left whole: output 'y' differs by ")
    assert warning.endswith("from zeroing what was removed, after 1 step of its states")
    assert _sizes(result.model)["a"] == [1, 1, 8]


def test_what_can_not_be_asked_for() -> None:
    model = streaming()
    for options, message in (
        ({"states": "grow"}, "states has to be keep or shrink, not grow"),
        ({"state": "a=an"}, "state says what may shrink, and nothing may; add states shrink"),
        ({"states": "shrink", "state": "a"}, "state 'a' is no pair; write IN=OUT, as in state h0=hn"),
        ({"states": "shrink", "rounds": 2}, "rounds can't be used with states shrink; leave one out"),
        ({"states": "shrink", "run": False}, "run=False can't be used with states, for which the model is run"),
    ):
        with pytest.raises(OptionError) as caught:
            spa_cli.prune(model, ratio=0.5, **options)
        assert message in str(caught.value)
    for state, message in (
        ("q=an", "state names 'q', which is no input; name one of frames, a, b"),
        ("a=q", "state names 'q', which is no output; name one of y, an, bn"),
    ):
        with pytest.raises(OptionError, match=message):
            spa_cli.inspect(model, states="shrink", state=state)


def test_a_plan_that_shrinks_states_has_to_run(tmp_path) -> None:
    plan = tmp_path / "plan.json"
    spa_cli.prune(streaming(), ratio=0.5, states="shrink", method="l2", plan_out=plan)
    with pytest.raises(UsageError, match="the plan shrinks states, which is checked by running the model"):
        spa_cli.apply(plan, streaming(), run=False)
    told = json.loads(plan.read_text())
    plan.write_text(json.dumps(told | {"states": [{"input": "a"}]}))
    with pytest.raises(UsageError, match='malformed at "states"'):
        spa_cli.apply(plan, streaming())


def test_where_nothing_is_a_state_it_is_said() -> None:
    from tests.builders import build

    model = build("(float[N,4] x) => (y) { a = MatMul(x, w)  b = Relu(a)  y = MatMul(b, v) }", w=(4, 6), v=(6, 3))
    result = spa_cli.prune(model, ratio=0.5, states="shrink", method="l2")
    assert any("changes nothing: no state of 'model' is given back by an output" in w for w in result.warnings)


def test_inspect_names_pairs_and_what_they_freeze(capsys) -> None:
    from spa_cli.report.json_report import inspect_json
    from spa_cli.report.states import states_lines

    kept, moving = spa_cli.inspect(streaming()), spa_cli.inspect(streaming(), states="shrink")
    found = inspect_json(kept, 0)["states"]
    assert [(s["input"], s["output"], s["why"]) for s in found] == [("a", "an", ""), ("b", "bn", "")]
    assert sum(s["freezes"] for s in found) > 3
    (line,) = states_lines(kept)
    assert line.startswith("2 states keep their shapes, and")
    assert line.endswith("'a' -> 'an' and 1 more; --states shrink lets both ends shrink")
    assert states_lines(moving) == ["2 states may lose channels at both ends: 'a' -> 'an' and 1 more"]
    assert not sum(s["freezes"] for s in inspect_json(moving, 0)["states"])
