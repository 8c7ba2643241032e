"""States and caches lose channels at both ends: what a pruned model gives back is what it takes, step after step."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.analysis import analyse_model
from spa_cli.channels.selection import Selection
from spa_cli.operators.rewrite import cut
from spa_cli.operators.states import alike, find_pairs
from spa_cli.plan import from_cut
from spa_cli.report.states import pairs_of, states_lines
from spa_cli.runtime.load import load
from tests.builders import build, described
from tests.equivalence import assert_same, run, zeroed

STEPS = 8
LSTM = (
    """(float[1,N,5] x, float[1,N,6] h0, float[1,N,6] c0) => (y, hn, cn) {
      a, hn, cn = LSTM<hidden_size=6>(x, w, r, b, , h0, c0)
      s = Squeeze(a, axes)
      y = MatMul(s, o)
    }""",
    {"w": (1, 24, 5), "r": (1, 24, 6), "b": (1, 48), "o": (6, 3), "axes": [1]},
)
# kinds of states: the model, its weights, its groups, which output gives which input back
CASES = {
    "LSTM": (*LSTM, ["6: b:1*8 o:0 r:1*4 r:2 w:1*4"], {"h0": "hn", "c0": "cn"}),
    "GRU, two layers in one state": (
        """(float[1,N,5] x, float[2,N,6] state) => (y, state_out) {
          s0, s1 = Split<axis=0, num_outputs=2>(state)
          a, ha = GRU<hidden_size=6>(x, wa, ra, , , s0)
          f = Squeeze(a, axes)
          b, hb = GRU<hidden_size=6>(f, wb, rb, , , s1)
          g = Squeeze(b, axes)
          y = MatMul(g, o)
          state_out = Concat<axis=0>(ha, hb)
        }""",
        {"wa": (1, 18, 5), "ra": (1, 18, 6), "wb": (1, 18, 6), "rb": (1, 18, 6), "o": (6, 3), "axes": [1]},
        ["6: o:0 ra:1*3 ra:2 rb:1*3 rb:2 wa:1*3 wb:1*3 wb:2"],
        {"state": "state_out"},
    ),
    "LSTM, both states in one tensor, written out": (
        """(float[1,4] x, float[1,6,2] memory) => (y, memory_next) {
          h, c = Split<axis=2, num_outputs=2>(memory)
          h1 = Squeeze(h, last)  c1 = Squeeze(c, last)
          g = Gemm(x, w, b)  u = MatMul(h1, r)  z = Add(g, u)
          i, f, o, j = Split<axis=1, num_outputs=4>(z)
          si = Sigmoid(i)  sf = Sigmoid(f)  so = Sigmoid(o)  tj = Tanh(j)
          kept = Mul(sf, c1)  new = Mul(si, tj)  c2 = Add(kept, new)
          t = Tanh(c2)  h2 = Mul(so, t)
          y = MatMul(h2, out)
          hs = Unsqueeze(h2, last)  cs = Unsqueeze(c2, last)
          memory_next = Concat<axis=2>(hs, cs)
        }""",
        {"w": (4, 24), "b": (24,), "r": (6, 24), "out": (6, 3), "last": [2]},
        ["6: b:0*4 out:0 r:0 r:1*4 w:1*4"],
        {"memory": "memory_next"},
    ),
    "cache of a causal convolution": (
        """(float[1,3,4] x, float[1,6,2] conv_cache) => (y, conv_cache_out) {
          a = Conv(x, w1)
          j = Concat<axis=2>(conv_cache, a)
          conv_cache_out = Slice(j, start, end, at)
          b = Conv(j, w2)
          r = Relu(b)
          y = Conv(r, w3)
        }""",
        {"w1": (6, 3, 1), "w2": (5, 6, 3), "w3": (2, 5, 1), "start": [-2], "end": [2**31], "at": [2]},
        ["5: w2:0 w3:1", "6: w1:0 w2:1"],
        {"conv_cache": "conv_cache_out"},
    ),
    "keys and values, two query heads for each": (
        """(float[1,T,8] x, float[1,2,P,4] past_k, float[1,2,P,4] past_v) => (y, present_k, present_v) {
          q = MatMul(x, wq)  q4 = Reshape(q, sq)  qt = Transpose<perm=[0,2,1,3]>(q4)
          k = MatMul(x, wk)  k4 = Reshape(k, skv)  kt = Transpose<perm=[0,2,1,3]>(k4)
          v = MatMul(x, wv)  v4 = Reshape(v, skv)  vt = Transpose<perm=[0,2,1,3]>(v4)
          present_k = Concat<axis=2>(past_k, kt)
          present_v = Concat<axis=2>(past_v, vt)
          ku = Unsqueeze(present_k, two)  ke = Expand(ku, twice)  shk = Shape(present_k)
          len = Gather<axis=0>(shk, where)  many = Concat<axis=0>(one, four, len, dim)
          kr = Reshape(ke, many)
          vu = Unsqueeze(present_v, two)  ve = Expand(vu, twice)  vr = Reshape(ve, many)
          kx = Transpose<perm=[0,1,3,2]>(kr)
          s = MatMul(qt, kx)  p = Softmax<axis=-1>(s)
          o = MatMul(p, vr)  ot = Transpose<perm=[0,2,1,3]>(o)  of = Reshape(ot, so)
          y = MatMul(of, wo)
        }""",
        {
            "wq": (8, 16), "wk": (8, 8), "wv": (8, 8), "wo": (16, 8), "sq": [1, -1, 4, 4], "skv": [1, -1, 2, 4],
            "two": [2], "twice": [1, 1, 2, 1, 1], "where": [2], "one": [1], "four": [4], "dim": [4], "so": [1, -1, 16],
        },
        None,
        {"past_k": "present_k", "past_v": "present_v"},
    ),
    "linear attention, a state that decays": (
        """(float[1,5] x, float[1,6,4] state_in) => (y, state_out) {
          k = MatMul(x, wk)  v = MatMul(x, wv)  q = MatMul(x, wq)
          ku = Unsqueeze(k, last)  vu = Unsqueeze(v, one)  kv = Mul(ku, vu)
          old = Mul(state_in, decay)
          state_out = Add(old, kv)
          qu = Unsqueeze(q, one)  o = MatMul(qu, state_out)  os = Squeeze(o, one)
          y = MatMul(os, wo)
        }""",
        {
            "wk": (5, 6), "wv": (5, 4), "wq": (5, 6), "wo": (4, 3), "last": [2], "one": [1],
            "decay": np.full((6, 1), 0.9, np.float32),
        },
        ["4: wo:0 wv:1", "6: decay:0 wk:1 wq:1"],
        {"state_in": "state_out"},
    ),
    "a step of Mamba": (
        """(float[1,5] x, float[1,6,3] conv_state, float[1,6,4] ssm_state) => (y, conv_state_out, ssm_state_out) {
          u = MatMul(x, win)  uu = Unsqueeze(u, last)
          tail = Slice(conv_state, start, end, last)
          conv_state_out = Concat<axis=2>(tail, uu)
          m = Mul(conv_state_out, taps)  s = ReduceSum<keepdims=0>(m, last)  g = Sigmoid(s)  a = Mul(s, g)
          b = MatMul(a, wb)  bu = Unsqueeze(b, one)  c = MatMul(a, wc)  cu = Unsqueeze(c, last)
          au = Unsqueeze(a, last)  new = Mul(au, bu)  old = Mul(ssm_state, decay)
          ssm_state_out = Add(old, new)
          o = MatMul(ssm_state_out, cu)  os = Squeeze(o, last)
          y = MatMul(os, wout)
        }""",
        {
            "win": (5, 6), "taps": (6, 3), "wb": (6, 4), "wc": (6, 4), "wout": (6, 3), "start": [1], "end": [9],
            "last": [2], "one": [1], "decay": np.full((6, 4), 0.8, np.float32),
        },
        ["4: decay:1 wb:1 wc:1", "6: decay:0 taps:0 wb:0 wc:0 win:1 wout:0"],
        {"conv_state": "conv_state_out", "ssm_state": "ssm_state_out"},
    ),
}  # fmt: skip


def _of(name, shrinking=()):
    text, weights = CASES[name][:2]
    model = build(text, **weights)
    return model, analyse_model(load(model), {}, shrinking=shrinking)


@pytest.mark.parametrize("name", CASES)
def test_both_ends_are_found_and_move(name) -> None:
    expected, ends = CASES[name][2:]
    analysis = _of(name)[1]
    assert {p.input: p.output for p in analysis.pairs} == ends
    assert all(p.axes and not p.why for p in analysis.pairs)
    found = sorted(map(described, analysis.grouping.groups))
    if expected is not None:
        assert found == sorted(expected)
    assert len(_of(name, None)[1].grouping.groups) < len(found)


@pytest.mark.parametrize("name", CASES)
def test_removing_equals_zeroing_after_every_step(name) -> None:
    model, analysis = _of(name)
    groups = analysis.grouping.groups
    exact = [i for i, g in enumerate(groups) if g.exact]
    assert exact
    moved = 0
    for chosen in ([i] for i in exact):
        work = _halved(analysis, chosen)
        moved += bool(work.states)
        _compare(model, analysis, work)
    work = _halved(analysis, exact)
    assert {s.input for s in work.states} == {*CASES[name][3]}
    _compare(model, analysis, work)
    assert moved


def _halved(analysis, chosen):
    selection = Selection(analysis.grouping)
    for index in chosen:
        group = analysis.grouping.groups[index]
        keep = np.ones((max(1, len(group.blocks)), group.channels), bool)
        keep[:, 1 : 1 + group.channels // 2] = False
        # every block keeps others
        keep = np.stack([np.roll(own, at) for at, own in enumerate(keep)])
        selection.keep(index, keep if len(group.blocks) else keep[0])
    return cut(analysis.graph, analysis.state, analysis.grouping, selection, {})


def _compare(model, analysis, work) -> None:
    """Both run on the states that they gave themselves."""
    plan = from_cut(work, {})
    dense, thin = zeroed(model, plan.kept | plan.hidden), work.model
    rng = np.random.default_rng(0)
    shapes = {n: tuple(3 if d == 0 else d for d in s) for n, s in analysis.input_shapes.items()}
    left = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    right = dict(left)
    for state in work.states:
        value = left[state.input]
        right[state.input] = state.narrowed(value)
        left[state.input] = state.widened(right[state.input])
    back = {p.input: p.output for p in analysis.pairs}
    names = [o.name for o in model.graph.output]
    for step in range(STEPS):
        a, b = (dict(zip(names, run(m, given), strict=True)) for m, given in ((dense, left), (thin, right)))
        wide = dict(b)
        for state in work.states:
            wide[state.output] = state.widened(wide[state.output])
        assert_same(model, [*a.values()], [*wide.values()], 1e-4, f"step {step}")
        left |= {n: a[o] for n, o in back.items()}
        right |= {n: b[o] for n, o in back.items()}
        fresh = rng.standard_normal(shapes["x"]).astype(np.float32)
        left["x"] = right["x"] = fresh


def test_what_is_no_pair_stays_with_the_reason() -> None:
    text = """(float[1,N,5] x, float[1,N,6] h0) => (y, hn) {
      a, h = GRU<hidden_size=6>(x, w, r, , , h0)
      s = Squeeze(a, axes)  y = MatMul(s, o)  hn = Concat<axis=2>(h, h)
    }"""
    model = build(text, w=(1, 18, 5), r=(1, 18, 6), o=(6, 3), axes=[1])
    analysis = analyse_model(load(model), {}, shrinking=())
    assert not analysis.grouping.groups
    assert [(p.input, p.output, p.why) for p in analysis.pairs] == [("h0", "", "no output gives it back")]
    reasons = {f.reason.text for f in analysis.grouping.frozen}
    assert "state 'h0' keeps its shape: no output gives it back" in reasons
    told = analyse_model(load(model), {}, shrinking=[("h0", "hn")])
    assert told.pairs[0].why == "it has shape 1x1x6, and 'hn' 1x1x12"
    assert not told.grouping.groups


def test_what_is_only_called_a_state_has_no_pair() -> None:
    """A network that predicts what it is told next, in an output of the same shape."""
    text = "(float[1,5] states) => (linear) { a = MatMul(states, w)  b = Relu(a)  linear = MatMul(b, o) }"
    model = build(text, w=(5, 8), o=(8, 5))
    for shrinking in (None, ()):
        (pair,) = analyse_model(load(model), {}, shrinking=shrinking).pairs
        assert (pair.output, pair.why) == ("", "no output gives it back")


def test_a_state_that_leaves_elsewhere_too_stays() -> None:
    text, weights = LSTM
    model = build(
        text.replace("(y, hn, cn)", "(y, hn, cn, seen)").replace("y = MatMul", "seen = Relu(hn)  y = MatMul"), **weights
    )
    analysis = analyse_model(load(model), {}, shrinking=())
    assert not analysis.grouping.groups
    assert "graph output 'seen' keeps its shape" in {f.reason.text for f in analysis.grouping.frozen}
    assert {(p.input, p.why) for p in pairs_of(analysis)} == {
        (n, "graph output 'seen' keeps its shape") for n in ("h0", "c0")
    }
    (line,) = states_lines(analysis)
    assert line.startswith("2 states keep their shapes: ") and "(graph output 'seen' keeps its shape)" in line


def test_pairs_that_nothing_tells_can_be_told() -> None:
    text = """(float[1,4] x, float[1,6] a) => (y, b) {
      p = Gemm(x, w)  q = Gemm(a, r)  s = Add(p, q)  b = Tanh(s)  y = MatMul(b, o)
    }"""
    model = build(text, w=(4, 6), r=(6, 6), o=(6, 3))
    assert not analyse_model(load(model), {}, shrinking=()).grouping.groups
    analysis = analyse_model(load(model), {}, shrinking=[("a", "b")])
    assert [described(g) for g in analysis.grouping.groups] == ["6: o:0 r:0 r:1 w:1"]
    _compare(model, analysis, _halved(analysis, [0]))


def test_a_state_that_is_not_zero_where_its_weights_are_is_not_exact() -> None:
    text = """(float[1,4] x, float[1,6] state) => (y, state_out) {
      p = MatMul(x, w)  q = MatMul(state, r)  s = Add(p, q)  state_out = Sigmoid(s)  y = MatMul(state_out, o)
    }"""
    analysis = analyse_model(load(build(text, w=(4, 6), r=(6, 6), o=(6, 3))), {}, shrinking=())
    (group,) = analysis.grouping.groups
    assert group.inexact.text == "what comes back in 'state_out' is not zero where its weights are"


@pytest.mark.parametrize(
    ("name", "mine", "others"),
    [
        ("past_key_values.0.key", "present.0.key", ("present.1.key", "present.0.value", "logits")),
        ("past_key_values.10.value", "present.10.value", ("present.1.value", "present.0.value", "present.10.key")),
        ("h0", "hn", ("cn",)),
        ("tra_cache", "tra_cache_out", ("conv_cache_out", "inter_cache_out")),
        ("state", "stateN", ("output",)),
        ("hidden_in", "hidden_out", ("cell_out",)),
    ],
)
def test_names_of_both_ends_are_alike(name, mine, others) -> None:
    assert all(alike(name, mine) > alike(name, other) for other in others)


def test_without_a_walk_names_and_order_decide() -> None:
    text = """(float[1,4] x, float[1,6] c_in, float[1,6] h_in) => (y, h_out, c_out) {
      y = Relu(x)  h_out = Tanh(h_in)  c_out = Tanh(c_in)
    }"""
    analysis = analyse_model(load(build(text)), {})
    assert {p.input: p.output for p in find_pairs(analysis.graph, analysis.state.shapes)} == {
        "c_in": "c_out",
        "h_in": "h_out",
    }
