"""Networks of one or two kinds of layers, small enough to count by hand."""

from __future__ import annotations

import numpy as np
import onnx

from spa_cli.budget.bill import SECONDS, Bill
from spa_cli.devices.profile_clock import ProfileClock
from spa_cli.devices.profiles import Profile
from tests.builders import analysed, build


def dense() -> onnx.ModelProto:
    """Two convolutions: 24 channels between them."""
    text = """(float[1,3,8,8] x) => (y) {
      a = Conv<pads=[1,1,1,1]>(x, w1, b1)
      r = Relu(a)
      y = Conv(r, w2)
    }"""
    return build(text, w1=(24, 3, 3, 3), b1=(24,), w2=(4, 24, 1, 1))


def separable(c: int = 40) -> onnx.ModelProto:
    """What MobileNets are made of, of ``c`` channels: wide, depthwise, narrow."""
    text = f"""(float[1,3,8,8] x) => (y) {{
      a = Conv(x, w1)
      r = Relu(a)
      d = Conv<group={c}, pads=[1,1,1,1]>(r, w2)
      s = Relu(d)
      y = Conv(s, w3)
    }}"""
    return build(text, w1=(c, 3, 1, 1), w2=(c, 1, 3, 3), w3=(4, c, 1, 1))


def profile(layers: dict[str, float] | None = None, **multiples: int) -> Profile:
    """Of a machine that nobody has."""
    every = dict.fromkeys(("convolution", "depthwise", "grouped", "product", "recurrent"), 1)
    return Profile("made up", "", (), every | multiples, layers or {})


def taken(model: onnx.ModelProto, told: Profile, gone: dict[str, int] | None = None) -> dict[str, float]:
    """What the layers take with so many channels of groups gone, by the output of the node; other nodes add up."""
    analysis = analysed(model)
    clock = ProfileClock(told, analysis)
    bill = Bill(analysis.costs, analysis.grouping, clock)
    names = [g.name for g in analysis.grouping.groups]
    assert set(gone or {}) <= set(names), names
    counts = [(gone or {}).get(name, 0) for name in names]
    bill.left(SECONDS, counts)
    found = dict.fromkeys(["others"], 0.0)
    for node, term in zip(clock.nodes, bill._terms[SECONDS], strict=True):
        key = node.outputs[0] if node in analysis.costs.nodes else "others"
        found[key] = found.get(key, 0.0) + float(np.round(term.at(counts), 9))
    return found
