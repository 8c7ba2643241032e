"""From ids to groups: patterns, members, names, blocks that choose for themselves."""

import numpy as np

from spa_cli.channels.selection import Selection
from tests.builders import analysed, build, frozen, groups, positive, roles

CHAIN = """(float[N,3,5,5] x) => (y) {
  a = Conv(x, w1, b1)
  n = BatchNormalization(a, s, o, m, v)
  r = Relu(n)
  y = Conv(r, w2)
}"""
WEIGHTS = {"w1": (6, 3, 1, 1), "b1": (6,), "s": positive(6), "o": (6,), "m": (6,), "v": positive(6)}
GROUPED = """(float[N,3,4,4] x) => (y) {
  a = Conv(x, w1, b1)
  g = Conv<group=2>(a, wg)
  r = Relu(g)
  y = Conv(r, w2)
}"""
TWO_GROUPS = {"w1": (8, 3, 1, 1), "b1": (8,), "wg": (6, 4, 1, 1), "w2": (4, 6, 1, 1)}


def test_a_chain_is_one_group_named_after_its_producer() -> None:
    (group,) = analysed(build(CHAIN, **WEIGHTS, w2=(4, 6, 1, 1))).grouping.groups
    assert group.name == "w1"
    assert group.channels == 6
    assert group.exact
    assert len(group.blocks) == 0


def test_roles_of_members() -> None:
    found = roles(build(CHAIN, **WEIGHTS, w2=(4, 6, 1, 1)))
    assert found["w1:0"] == "producer"
    assert found["w2:1"] == "consumer"
    assert {found[f"{p}:0"] for p in ("b1", "s", "o", "m", "v")} == {"pass-through"}


def test_every_axis_of_every_weight_is_in_a_group_or_frozen() -> None:
    model = build(CHAIN, **WEIGHTS, w2=(4, 6, 1, 1))
    members = {f"{m.tensor}:{m.axis}" for g in analysed(model).grouping.groups for m in g.members}
    every = {f"{t.name}:{axis}" for t in model.graph.initializer for axis in range(len(t.dims))}
    assert members | set(frozen(model)) == every
    assert not members & set(frozen(model))


def test_groups_come_in_the_order_of_the_file_and_names_are_unique() -> None:
    names = [g.name for g in analysed(build(GROUPED, **TWO_GROUPS)).grouping.groups]
    assert len(set(names)) == len(names) == 3
    assert names[0] == "w1/inside"


def test_channels_with_different_neighbours_are_different_groups() -> None:
    model = build(
        """(float[N,5] x) => (y) {
          a = Gemm(x, w1)
          p, q = Split<axis=1>(a, sizes)
          s = Gemm(p, wp)
          t = Gemm(q, wq)
          y = Add(s, t)
        }""",
        w1=(5, 8),
        sizes=[3, 5],
        wp=(3, 4),
        wq=(5, 4),
    )
    assert groups(model) == ["3: w1:1 wp:0", "5: w1:1 wq:0"]


def test_blocks_of_a_grouped_convolution_choose_for_themselves() -> None:
    found = {_described(g): g for g in analysed(build(GROUPED, **TWO_GROUPS)).grouping.groups}
    assert set(found) == {(2, 0), (4, 2), (3, 2)}


def _described(group):
    return group.channels, len(group.blocks)


def test_blocks_that_are_added_to_something_whole_still_choose_for_themselves() -> None:
    text = GROUPED.replace("r = Relu(g)", "c = Conv(x, wc)  r = Add(g, c)")
    model = build(text, **TWO_GROUPS, wc=(6, 3, 1, 1))
    assert "2x3: w2:1*2 wc:0*2 wg:0*2" in groups(model)


def test_blocks_that_are_added_to_each_other_choose_together() -> None:
    model = build(
        GROUPED.replace("r = Relu(g)", "p, q = Split<axis=1, num_outputs=2>(g)  r = Add(p, q)"),
        **{**TWO_GROUPS, "w2": (4, 3, 1, 1)},
    )
    assert "3: w2:1 wg:0*2" in groups(model)


def test_a_mask_per_block_selects_different_indices() -> None:
    found = analysed(build(GROUPED, **TWO_GROUPS))
    index = next(i for i, g in enumerate(found.grouping.groups) if _described(g) == (4, 2))
    selection = Selection(found.grouping)
    selection.keep(index, np.array([[1, 0, 0, 1], [0, 1, 1, 0]], bool))
    assert np.flatnonzero(selection.mask(found.grouping.rows["w1", 0])).tolist() == [0, 3, 5, 6]
    assert [b.tolist() for b in selection.blocks(found.grouping.rows["wg", 1])] == [[0, 3], [1, 2]]


def test_a_mask_that_keeps_all_changes_nothing() -> None:
    found = analysed(build(GROUPED, **TWO_GROUPS))
    selection = Selection(found.grouping)
    selection.keep(0, np.ones(found.grouping.groups[0].channels, bool))
    assert selection.groups() == []


def test_leaving_groups_out_of_a_selection() -> None:
    found = analysed(build(GROUPED, **TWO_GROUPS))
    selection = Selection(found.grouping)
    for index, group in enumerate(found.grouping.groups):
        shape = (len(group.blocks), group.channels) if len(group.blocks) else group.channels
        mask = np.ones(shape, bool)
        mask[..., 0] = False
        selection.keep(index, mask)
    left = selection.copy_without([0, 2])
    assert list(left.kept) == [1]
    assert len(selection.groups()) == 3


def test_frozen_axes_say_which_node() -> None:
    model = build("(float[N,5] x) => (y) { a = Gemm(x, w1)  s = Softmax(a)  y = Gemm(s, w2) }", w1=(5, 6), w2=(6, 4))
    found = {(f.tensor, f.axis): f.reason for f in analysed(model).grouping.frozen}
    assert found["w1", 1].node == "Softmax_s"
    assert found["w1", 1].text == "Softmax runs over it"


def test_sizes_that_an_operator_is_told_have_no_channels() -> None:
    model = build(
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, w)
          r = Resize<mode="nearest">(a, roi, scales)
          y = Conv(r, v)
        }""",
        w=(6, 3, 1, 1),
        v=(2, 6, 1, 1),
        roi=np.zeros(0, np.float32),
        scales=np.array([1, 1, 2, 2], np.float32),
    )
    found = {f.tensor: f.counts for f in analysed(model).grouping.frozen if f.tensor in ("roi", "scales")}
    assert found == {"roi": False, "scales": False}
