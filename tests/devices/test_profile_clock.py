"""What nodes take by a profile, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from spa_cli.budget.bill import SECONDS, Bill
from spa_cli.devices.kinds import kind_of
from spa_cli.devices.profile_clock import ProfileClock
from spa_cli.errors import UsageError
from tests.builders import analysed, build
from tests.devices.nets import dense, profile, separable, taken


def test_at_any_width_time_is_work() -> None:
    assert taken(dense(), profile()) == {"a": 64 * 24 * 27, "y": 64 * 4 * 24, "others": 64 * 24}


@pytest.mark.parametrize(("gone", "width"), [(0, 32), (7, 32), (8, 16), (9, 16), (23, 16)])
def test_widths_are_rounded_up_to_blocks(gone, width) -> None:
    found = taken(dense(), profile(convolution=16), {"w1": gone})
    # what can't change, the 3 channels in and the 4 out, is taken as it is
    assert found == {"a": 64 * width * 27, "y": 64 * 4 * width, "others": 64 * (24 - gone)}


def test_each_kind_has_its_multiple() -> None:
    told = profile(convolution=8, depthwise=16)
    found = taken(separable(40), told, {"w1": 3})
    assert found == {"a": 64 * 3 * 40, "d": 64 * 9 * 48, "y": 64 * 4 * 40, "others": 2 * 64 * 37}


def test_groups_are_filled_up_one_by_one() -> None:
    text = """(float[1,24,4,4] x) => (y) {
      a = Conv(x, w0)
      g = Conv<group=4>(a, w)
      r = Relu(g)
      y = Conv(r, w2)
    }"""
    model = build(text, w0=(24, 24, 1, 1), w=(48, 6, 1, 1), w2=(4, 48, 1, 1))
    analysis = analysed(model)
    groups = {g.name: (g.channels, len(g.blocks)) for g in analysis.grouping.groups}
    whole = next(name for name, (channels, blocks) in groups.items() if channels == 4 and not blocks)
    told = profile(grouped=8)
    # 6 channels in are 8, 12 out are 16, of each of 4 groups, then of 3
    assert taken(model, told)["g"] == pytest.approx(16 * 4 * 8 * 16)
    assert taken(model, told, {whole: 1})["g"] == pytest.approx(16 * 3 * 8 * 16)


def test_transposed_groups_too() -> None:
    text = """(float[1,24,4,4] x) => (y) {
      a = Conv(x, w0)
      g = ConvTranspose<group=4>(a, w)
      r = Relu(g)
      y = Conv(r, w2)
    }"""
    model = build(text, w0=(24, 24, 1, 1), w=(24, 12, 1, 1), w2=(4, 48, 1, 1))
    assert taken(model, profile(grouped=8))["g"] == pytest.approx(16 * 4 * 8 * 16)


def test_a_product_has_no_blocks_along_its_batch() -> None:
    text = """(float[1,6,8] x) => (y) {
      a = MatMul(x, w1)
      r = Relu(a)
      y = MatMul(r, w2)
    }"""
    model = build(text, w1=(8, 20), w2=(20, 4))
    assert taken(model, profile(product=16), {"w1": 3}) == {"a": 6 * 8 * 32, "y": 6 * 32 * 4, "others": 6 * 17}


def test_heads_of_attention_are_a_batch() -> None:
    text = """(float[1,6,24] x) => (y) {
      q = MatMul(x, wq)
      k = MatMul(x, wk)
      v = MatMul(x, wv)
      a = Attention<q_num_heads=3, kv_num_heads=3>(q, k, v)
      y = MatMul(a, wy)
    }"""
    model = build(text, opset=23, ir=11, wq=(24, 24), wk=(24, 24), wv=(24, 24), wy=(24, 4))
    alone = taken(model, profile())["a"]
    # 24 features of queries and 24 of what comes out are 32
    assert taken(model, profile(product=16))["a"] == pytest.approx(alone * (32 / 24) ** 2)


def test_recurrent_layers_have_units_not_gates() -> None:
    text = """(float[5,1,6] x) => (y) {
      h = LSTM<hidden_size=12>(x, w, r)
      s = Squeeze(h, axis)
      y = MatMul(s, w2)
    }"""
    model = build(text, w=(1, 48, 6), r=(1, 48, 12), axis=[1], w2=(12, 4))
    work = 5 * (48 * 6 + 48 * 12)
    assert taken(model, profile(recurrent=8))["h"] == pytest.approx(work * 16 / 12)


def test_kinds() -> None:
    analysis = analysed(separable())
    assert [kind_of(n, analysis.costs.dense) for n in analysis.graph.nodes] == [
        *("convolution", "", "depthwise", "", "convolution"),
    ]


def test_times_that_were_measured_scale_their_layers() -> None:
    """The others take as much for their work as those together."""
    told = profile({"Conv_a": 2.0, "Relu_r": 1.0}, convolution=16)
    whole = 64 * 32 * 27 + 64 * 24
    found = taken(dense(), told)
    assert found == pytest.approx({"a": 2e-3, "others": 1e-3, "y": 64 * 4 * 32 * 3e-3 / whole}, abs=1e-9)
    half = taken(dense(), told, {"w1": 8})
    assert half["a"] == pytest.approx(1e-3)
    assert half["others"] == pytest.approx(1e-3 * 16 / 24)


def test_a_table_of_another_model_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"none of the layers of the device 'made up' is in '.*' \(the first is 'Conv_q'"
    ):
        ProfileClock(profile({"Conv_q": 1.0}), analysed(dense()))


def test_bodies_are_timed_as_often_as_they_run() -> None:
    text = """(float[1,8] x) => (y) {
      n = Constant<value = int64 {3}> ()
      t = Constant<value = bool {1}> ()
      y = Loop(n, t, x)<body = one (int64 i, bool c, float[1,8] h) => (bool d, float[1,8] k) {
        d = Identity(c)
        a = MatMul(h, w1)
        k = MatMul(a, w2)
      }>
    }"""
    analysis = analysed(build(text, w1=(8, 20), w2=(20, 8)))
    clock = ProfileClock(profile(product=16), analysis)
    left = Bill(analysis.costs, analysis.grouping, clock).left(SECONDS, [0] * len(analysis.grouping.groups))
    assert left == pytest.approx(1)
    assert {round(clock.work(n, analysis.costs.dense)) for n in analysis.costs.nodes} == {3 * 8 * 20}
