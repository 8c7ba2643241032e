"""The plan: to and from JSON, and what it means for a model."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.analysis import Analysis, analyse_model
from spa_cli.channels.selection import Selection
from spa_cli.channels.slices import slot_of
from spa_cli.errors import UsageError
from spa_cli.operators.rewrite import cut
from spa_cli.plan import Plan, from_cut, to_selection
from spa_cli.runtime.load import load
from spa_cli.surgery.remaining import gather
from tests.builders import build, inside, random
from tests.cli.running import refused
from tests.decoders import decoder
from tests.samples import SAMPLES, model_path


def _analysis(name: str) -> Analysis:
    return analyse_model(load(model_path(name)), {})


def _random_selection(analysis: Analysis, seed: int, share: float) -> Selection:
    rng = np.random.default_rng(seed)
    selection = Selection(analysis.grouping)
    for index, group in enumerate(analysis.grouping.groups):
        shape = (len(group.blocks), group.channels) if len(group.blocks) else (group.channels,)
        selection.keep(index, np.argsort(rng.random(shape), axis=-1) >= int(share * group.channels))
    return selection


def _cut(analysis: Analysis, selection: Selection) -> tuple[Plan, dict[str, np.ndarray]]:
    work = cut(analysis.graph, analysis.state, analysis.grouping, selection, {})
    small = load(work.model).graph
    return from_cut(work, {}), {w: small.array(w) for w in small.weights()}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("share", [0.25, 0.6])
def test_a_plan_read_back_cuts_the_same(name, share, tmp_path) -> None:
    analysis = _analysis(name)
    plan, weights = _cut(analysis, _random_selection(analysis, 1, share))
    (tmp_path / "plan.json").write_text(plan.to_json())
    again, same = _cut(analysis, to_selection(Plan.read(tmp_path / "plan.json"), analysis))
    assert again == plan
    assert weights.keys() == same.keys()
    assert all(np.array_equal(weights[n], same[n]) for n in weights)


@pytest.mark.parametrize("name", ["digits_resnet", "digits_mobilenet", "digits_vit"])
def test_a_plan_takes_blocks_out(name, tmp_path) -> None:
    """It says what goes whole, with whatever dies of it; on other weights the constants are theirs."""
    analysis = _analysis(name)
    first, *_, last = analysis.blocks
    plan, weights = _cut(analysis, _random_selection(analysis, 1, 0.25).copy_emptied([first, last]))
    (tmp_path / "plan.json").write_text(plan.to_json())
    read = Plan.read(tmp_path / "plan.json")
    again, same = _cut(analysis, to_selection(read, analysis))
    assert again == plan
    assert all(np.array_equal(weights[n], same[n]) for n in weights)
    retrained = onnx.load(model_path(name))
    for tensor in retrained.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(onnx.numpy_helper.from_array(1.25 * onnx.numpy_helper.to_array(tensor), tensor.name))
    result = spa_cli.apply(read, retrained)
    assert result.plan.kept == plan.kept
    assert result.after.macs < result.before.macs


@pytest.mark.parametrize("name", SAMPLES)
def test_kept_is_all_there_is_to_know_about_the_weights(name) -> None:
    """An independent gather by ``kept`` gives the weights of the cut model."""
    analysis = _analysis(name)
    plan, weights = _cut(analysis, _random_selection(analysis, 2, 0.5))
    for tensor in analysis.graph.weights():
        assert np.array_equal(gather(analysis.graph.array(tensor), plan.kept.get(tensor, {})), weights[tensor]), tensor


def test_blocks_that_keep_different_channels_are_told_apart() -> None:
    analysis = _analysis("digits_vit")
    index = next(i for i, g in enumerate(analysis.grouping.groups) if len(g.blocks))
    group = analysis.grouping.groups[index]
    mask = np.ones((len(group.blocks), group.channels), bool)
    for block in range(len(group.blocks)):
        mask[block, block] = False
    selection = Selection(analysis.grouping)
    selection.keep(index, mask)
    plan, _ = _cut(analysis, selection)
    (read,) = to_selection(plan, analysis).kept.values()
    assert np.array_equal(read, mask)


def test_json_carries_what_rides_beside(tmp_path) -> None:
    plan = Plan({"w": {"0": [0, 2]}}, {"method": "l1", "note": {"a": 1}})
    data = json.loads(plan.to_json())
    assert data == {"schema": "spa.plan/1", "kept": {"w": {"0": [0, 2]}}, "method": "l1", "note": {"a": 1}}
    (tmp_path / "plan.json").write_text(plan.to_json())
    assert Plan.read(tmp_path / "plan.json") == plan


def test_gather_of_blocks() -> None:
    array = np.arange(24).reshape(4, 6)
    assert gather(array, {"0": [0, 3], "1": [5]}).tolist() == [[5], [23]]
    per_block = gather(array, {"1": [[0, 1], [4, 5]]})
    assert per_block.tolist() == [[0, 1], [6, 7], [16, 17], [22, 23]]
    both = gather(array, {"0": [1, 2], "1": [[0], [5]]})
    assert both.tolist() == [[6], [17]]
    assert gather(array, {}) is array


def _group_plan(analysis: Analysis, name: str, kept: list[int]) -> dict[str, dict[str, list[int]]]:
    group = next(g for g in analysis.grouping.groups if g.tensor == name)
    plan: dict[str, dict[str, list[int]]] = {}
    for member in group.members:
        plan.setdefault(member.tensor, {})[str(member.axis)] = kept
    return plan


def test_every_member_counts() -> None:
    analysis = _analysis("digits_resnet")
    kept = _group_plan(analysis, "stage1.0.conv1.weight", [0, 1, 2])
    (mask,) = to_selection(Plan(kept), analysis).kept.values()
    assert np.flatnonzero(mask).tolist() == [0, 1, 2]
    for tensor in kept:
        without = {k: v for k, v in kept.items() if k != tensor}
        with pytest.raises(UsageError, match="not consistent"):
            to_selection(Plan(without), analysis)
        shifted = {**kept, tensor: {axis: [1, 2, 3] for axis in kept[tensor]}}
        with pytest.raises(UsageError, match="not consistent"):
            to_selection(Plan(shifted), analysis)


def test_the_order_of_indices_is_that_of_the_model() -> None:
    analysis = _analysis("digits_resnet")
    kept = _group_plan(analysis, "stage1.0.conv1.weight", [5, 0, 5, 3])
    (mask,) = to_selection(Plan(kept), analysis).kept.values()
    assert np.flatnonzero(mask).tolist() == [0, 3, 5]


def test_blocks_have_to_keep_equal_numbers() -> None:
    analysis = _analysis("digits_vit")
    plan, _ = _cut(analysis, _random_selection(analysis, 3, 0.3))
    tensor, axis = next((t, a) for t, axes in plan.kept.items() for a, k in axes.items() if len(k) < 192 and "qkv" in t)
    uneven = {**plan.kept, tensor: {**plan.kept[tensor], axis: plan.kept[tensor][axis][1:]}}
    with pytest.raises(UsageError, match=r"the plan is not consistent at .*; change all members of a group together"):
        to_selection(Plan(uneven), analysis)
    # a channel that is gone everywhere, but of one block only
    group, kept = next(g for g in analysis.grouping.groups if len(g.blocks)), {}
    for member in group.members:
        rows = analysis.grouping.rows[member.tensor, member.axis]
        gone = (slot_of(rows, group.blocks) == 0) & (slot_of(rows, group.ids) == 0)
        kept.setdefault(member.tensor, {})[str(member.axis)] = np.flatnonzero(~gone).tolist()
    with pytest.raises(UsageError, match=r"different numbers of channels in the blocks of group '.*'; keep"):
        to_selection(Plan(kept), analysis)


def test_what_no_plan_of_whole_groups_says() -> None:
    """Blocks of an axis that names them itself; a group that is cut where another axis keeps everything."""
    analysis = _analysis("digits_vit")
    group = next(g for g in analysis.grouping.groups if len(g.blocks))
    inner = next(m for m in group.members if len(analysis.grouping.rows[m.tensor, m.axis]) > group.channels)
    plan, _ = _cut(analysis, _random_selection(analysis, 3, 0.3))
    kept = plan.kept[inner.tensor][str(inner.axis)]
    split = {**plan.kept, inner.tensor: {**plan.kept[inner.tensor], str(inner.axis): [kept, kept]}}
    with pytest.raises(UsageError, match=r"axis \d, which has none; write one list of indices"):
        to_selection(Plan(split), analysis)
    resnet = _analysis("digits_resnet")
    lacking = _group_plan(resnet, "stage1.0.conv1.weight", [0, 1, 2])
    lacking.popitem()
    with pytest.raises(
        UsageError, match=r"it cuts group '.*' but not '.*' axis \d; cut all members of a group or none"
    ):
        to_selection(Plan(lacking), resnet)


def test_a_plan_of_another_model_is_refused() -> None:
    plan, _ = _cut(*(lambda a: (a, _random_selection(a, 0, 0.3)))(_analysis("digits_resnet")))
    with pytest.raises(UsageError, match="which this model doesn't have; give the model it was made from"):
        to_selection(plan, _analysis("digits_vit"))


def test_too_many_blocks_are_refused() -> None:
    text = "(float[N,3,4,4] x) => (float[N,2,4,4] y) { a = Conv(x, wa)\n b = Conv<group=2>(a, wb)\n y = Conv(b, wy) }"
    model = build(text, wa=(8, 3, 1, 1), wb=(6, 4, 1, 1), wy=(2, 6, 1, 1))
    with pytest.raises(UsageError, match="'wb' axis 1 in 5 blocks, it has 2; write a list for every block"):
        to_selection(Plan({"wb": {"1": [[0]] * 5}}), analyse_model(load(model), {}))


# -- names ------------------------------------------------------------------------------------------------------------

DEEPER = """(float[N,5] x) => (y) {
  a = MatMul(x, wa)  r = Relu(a)  b = MatMul(r, wb)  s = Relu(b)  c = MatMul(s, wc)  t = Relu(c)  y = MatMul(t, wd)
}"""


def _deeper(*names: str) -> onnx.ModelProto:
    text = DEEPER
    for old, new in zip(("wa", "wb", "wc", "wd"), names, strict=True):
        text = text.replace(old, new)
    return build(text, **dict(zip(names, ((5, 12), (12, 3), (3, 12), (12, 3)), strict=True)))


def test_a_model_of_other_layers_is_refused(tmp_path) -> None:
    """All that the plan cuts is there and as wide; whose other layers they are does not matter to any of it."""
    plan = _planned()
    deeper = _deeper("wa", "wb", "wc", "wd")
    says = (
        "with 2 weights (biases not counted), this model has 4, not of the same names; give the model it was made from"
    )
    with pytest.raises(UsageError, match=re.escape(says)):
        spa_cli.apply(plan, deeper)
    (tmp_path / "plan.json").write_text(plan.to_json())
    onnx.save(deeper, tmp_path / "deeper.onnx")
    asked = ("apply", tmp_path / "plan.json", tmp_path / "deeper.onnx", "-o", tmp_path / "small.onnx")
    assert says in refused(2, *asked)
    small = spa_cli.prune(deeper, ratio=0.3, method="l1").model
    with pytest.raises(UsageError, match=re.escape(says)):
        spa_cli.verify(tmp_path / "deeper.onnx", small, plan=tmp_path / "plan.json")
    # who knows better
    edited = json.loads(plan.to_json())
    del edited["names"]
    (tmp_path / "plan.json").write_text(json.dumps(edited))
    assert spa_cli.apply(tmp_path / "plan.json", deeper).plan.kept == plan.kept


def test_as_many_layers_of_other_names_are_another_model() -> None:
    plan = spa_cli.prune(_deeper("wa", "wb", "wc", "wd"), ratio=0.3, method="l1", ignore=("wc", "wd")).plan
    assert sorted(plan.kept) == ["wa", "wb"]
    with pytest.raises(UsageError, match="this model has 4, not of the same names"):
        spa_cli.apply(plan, _deeper("wa", "wb", "we", "wf"))


# -- widths -----------------------------------------------------------------------------------------------------------

TWO_LAYERS = "(float[N,5] x) => (y) { a = MatMul(x, wa)\n r = Relu(a)\n y = MatMul(r, wb) }"


def _two_layers(width: int, seed: str = "") -> onnx.ModelProto:
    return build(TWO_LAYERS, wa=random((5, width), seed), wb=random((width, 3), seed))


def _planned(width: int = 12, **options: object) -> Plan:
    return spa_cli.prune(_two_layers(width), ratio=0.5, method="l1", **options).plan


def test_a_plan_says_how_wide_the_axes_were_that_it_cuts() -> None:
    plan = _planned()
    assert plan.widths == {"wa": {"1": 12}, "wb": {"0": 12}}
    assert json.loads(plan.to_json())["widths"] == plan.widths
    analysis = _analysis("digits_vit")
    made, _ = _cut(analysis, _random_selection(analysis, 3, 0.3))
    found = {n: {int(a): w for a, w in axes.items()} for n, axes in made.widths.items()}
    assert found == {n: {int(a): analysis.graph.shape(n)[int(a)] for a in axes} for n, axes in made.kept.items()}


@pytest.mark.parametrize("width", [10, 16])
def test_a_model_of_other_widths_is_refused(width, tmp_path) -> None:
    """Every index that stays may be there, and still be another channel."""
    plan = _planned()
    small = Plan({"wa": {"1": [0, 1]}, "wb": {"0": [0, 1]}}, plan.about, {}, plan.widths)
    says = (
        rf"for 12 indices of 'wa' axis 1, this model has {width}; give the model it was made from, or one of the same"
    )
    with pytest.raises(UsageError, match=says):
        spa_cli.apply(small, _two_layers(width))
    (tmp_path / "plan.json").write_text(small.to_json())
    onnx.save(_two_layers(width), tmp_path / "model.onnx")
    model = tmp_path / "model.onnx"
    asked = ("apply", tmp_path / "plan.json", model, "-o", tmp_path / "small.onnx")
    assert "the plan was made for 12 indices of 'wa' axis 1" in refused(2, *asked)
    assert not (tmp_path / "small.onnx").exists()
    other = spa_cli.prune(model, tmp_path / "other.onnx", ratio=0.5, method="l1").model
    with pytest.raises(UsageError, match=says):
        spa_cli.verify(model, other, plan=tmp_path / "plan.json")


def test_a_retrained_model_of_the_same_widths_is_cut() -> None:
    plan = _planned()
    made = spa_cli.apply(plan, _two_layers(12, "retrained"))
    assert made.plan.kept == plan.kept
    assert made.plan.widths == plan.widths


def test_an_older_plan_and_an_edited_one_need_no_widths(tmp_path) -> None:
    plan = _planned()
    older = json.loads(plan.to_json())
    del older["widths"]
    (tmp_path / "plan.json").write_text(json.dumps(older))
    assert Plan.read(tmp_path / "plan.json").widths == {}
    assert spa_cli.apply(tmp_path / "plan.json", _two_layers(12)).plan.kept == plan.kept
    # as before, where the indices are there
    fits = Plan({"wa": {"1": [0, 1]}, "wb": {"0": [0, 1]}})
    assert spa_cli.apply(fits, _two_layers(16)).plan.kept == fits.kept
    edited = json.loads(plan.to_json())
    edited["kept"] = {"wa": {"1": [0, 3, 4]}, "wb": {"0": [0, 3, 4]}}
    (tmp_path / "plan.json").write_text(json.dumps(edited))
    assert spa_cli.apply(tmp_path / "plan.json", _two_layers(12)).plan.kept == edited["kept"]
    # a tensor that an edited plan no longer cuts may be anything
    edited["widths"]["gone"] = {"0": 7}
    (tmp_path / "plan.json").write_text(json.dumps(edited))
    assert spa_cli.apply(tmp_path / "plan.json", _two_layers(12)).plan.kept == edited["kept"]


def test_widths_of_weights_inside_bodies() -> None:
    text = """(float[N,5] x, bool c) => (float[N,3] y) {
      y = If (c) <then_branch = g () => (float[N,3] p) { a = MatMul(x, wa)  r = Relu(a)  p = MatMul(r, wb) },
                  else_branch = h () => (float[N,3] q) { q = MatMul(x, wc) }>
    }"""
    wide, narrow = (inside(build(text, wa=(5, w), wb=(w, 3), wc=(5, 3))) for w in (12, 10))
    plan = spa_cli.prune(wide, ratio=0.5, method="l1").plan
    assert plan.widths == {"wa": {"1": 12}, "wb": {"0": 12}}
    assert set(plan.hidden) == {"wa", "wb"}
    with pytest.raises(UsageError, match="for 12 indices of 'wa' axis 1, this model has 10"):
        spa_cli.apply(Plan({}, {}, {n: {a: [0] for a in axes} for n, axes in plan.hidden.items()}, plan.widths), narrow)


def test_a_plan_made_where_caches_are_empty() -> None:
    model = decoder("optimum")
    result = spa_cli.prune(model, method="l1", repair=False, ratio=0.3)
    assert 0 in result.plan.about["input_shapes"]["past_key_values.0.key"]
    again = spa_cli.apply(result.plan, model)
    assert [t.raw_data for t in again.model.graph.initializer] == [t.raw_data for t in result.model.graph.initializer]
