"""Recurrent layers: all gates at once from the states that the layer gives, then back through time by a Scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from onnx import helper

from spa_cli.adjoints.emitter import Emitter, NoAdjoint, Value
from spa_cli.adjoints.table import Call, Gradient, adjoint_of, need_opset

Body = Callable[..., Sequence[Value]]


def scan(states: Sequence[Value], rows: Sequence[Value], backward: int, states_out: int, body: Body) -> list[Value]:
    """Run ``body`` over the first axis of ``rows``: it takes states and a row of each, gives states and rows."""
    emit = states[0].emit
    inner = Emitter(emit.opset, emit.taken)
    inside = [Value(inner, emit.fresh("adjoint/scan/in"), v.dtype) for v in (*states, *rows)]
    results = [
        Value(inner, inner.ops("Identity", [v], 1, names=[emit.fresh("adjoint/scan/out")])[0], v.dtype)
        for v in body(inner, *inside)
    ]
    graph = helper.make_graph(
        inner.nodes,
        emit.fresh("adjoint/scan/body"),
        # onnxruntime asks for the number of axes where it can't infer it: samples, channels
        [helper.make_tensor_value_info(v.name, v.dtype, [None, None]) for v in inside],
        [helper.make_tensor_value_info(v.name, v.dtype, [None, None]) for v in results],
        inner.constants,
    )
    outs = emit.ops(
        "Scan",
        [*states, *rows],
        len(results),
        body=graph,
        num_scan_inputs=len(rows),
        scan_input_directions=[backward] * len(rows),
        scan_output_directions=[backward] * (len(results) - states_out),
    )
    return [Value(emit, name, v.dtype) for name, v in zip(outs, results, strict=True)]


@dataclass(frozen=True)
class Direction:
    """One direction of a layer: its weights (gates, ...), states before every step, cotangents. (steps, batch, h)."""

    call: Call
    index: int
    backward: int
    width: int
    gates: int

    def of(self, i: int) -> Value:
        """Part of an input that is of the direction."""
        return self.pick(self.call.x(i), 0)

    def pick(self, value: Value, axis: int) -> Value:
        """Part of a tensor that is of the direction."""
        return value.emit.op("Gather", value, value.emit.constant(self.index, 7), axis=axis)

    @property
    def states(self) -> Value:
        """The hidden state after every step."""
        return self.pick(self.call.y(0), 1)

    def initial(self, i: int) -> Value:
        """A state before the first step."""
        if self.call.has(i):
            return self.of(i)
        first = self.call.emit.op("Gather", self.states, self.call.emit.constant(0, 7), axis=0)
        return self.call.emit.zeros_like(first)

    def shifted(self, states: Value, initial: Value) -> Value:
        """The states before every step."""
        e = states.emit
        first = e.unsqueeze(initial, [0])
        if self.backward:
            return e.concat([e.slice(states, [1], [2**62], [0]), first], 0)
        return e.concat([first, e.slice(states, [0], [-1], [0])], 0)

    def product(self, rows: Value, i: int, gates: Sequence[int]) -> Value:
        """Rows by some gates of the weight ``i``, (..., gates * width)."""
        return rows @ rows.emit.transpose(self.weight(i, gates), [1, 0])

    def weight(self, i: int, gates: Sequence[int]) -> Value:
        """Some gates of a weight, which lie behind each other."""
        start, end = gates[0] * self.width, (gates[-1] + 1) * self.width
        return self.call.emit.slice(self.of(i), [start], [end], [0])

    def bias(self, gates: Sequence[int], recurrent: bool) -> Value:
        """Some gates of one half of the bias."""
        if not self.call.has(3):
            return self.call.emit.constant(0, self.call.x().dtype)
        return self.weight(3, [g + self.gates * recurrent for g in gates])

    def gate(self, value: Value, index: int) -> Value:
        """One of several gates, along the last axis."""
        return value.emit.slice(value, [index * self.width], [(index + 1) * self.width], [2])

    def cotangents(self) -> tuple[Value, list[Value]]:
        """Of the state after every step, and of the last states."""
        c = self.call
        found = c.cotangents[0]
        steps = self.pick(found, 1) if found is not None else c.emit.zeros_like(self.states)
        zero = self.call.emit.zeros_like(self.call.emit.op("Gather", steps, c.emit.constant(0, 7), axis=0))
        last = [self.pick(g, 0) if g is not None else zero for g in c.cotangents[1:]]
        return steps, last + [zero] * (2 - len(last))


@dataclass(frozen=True)
class Found:
    """What one direction gives. ``pre``: the cotangent of its gates before their function, as the input's weight has
    them, (steps, batch, gates * h). ``initial``: of its states before the first step. ``recurrent``: of its gates as
    the recurrent weight has them, one part behind the other, each with the rows that the weight was multiplied by.
    """

    pre: Value
    initial: list[Value]
    recurrent: list[tuple[Value, Value]]


Back = Callable[[Direction], Found]


def _layer(c: Call, gates: int, usual: Sequence[str], back: Back, states: int) -> Mapping[int, Gradient]:
    """The adjoint of a layer, each direction by ``back``."""
    need_opset(c, 9, "Scan")
    node, e = c.node, c.emit
    if c.has(4) and not _whole(c):
        raise NoAdjoint("it has lengths of sequences")
    if c.has(7):
        raise NoAdjoint("it has peepholes")
    if node.attr("layout", 0):
        raise NoAdjoint("it has the batch in front")
    if node.attr("clip") is not None or node.attr("input_forget", 0):
        raise NoAdjoint("it clips or couples its gates")
    direction = str(node.attr("direction", "forward"))
    ways = {"forward": [0], "reverse": [1], "bidirectional": [0, 1]}[direction]
    functions = [str(a).capitalize() for a in node.attr("activations", list(usual) * len(ways))]
    if usual and functions != list(usual) * len(ways):
        raise NoAdjoint(f"its activations are {', '.join(functions)}")
    width = c.sizes.here(node.inputs[2], 2)
    parts = [Direction(c, i, way, width, gates) for i, way in enumerate(ways)]
    found = [back(part) for part in parts]

    def both(of: Callable[[Found], Value]) -> Gradient:
        return lambda: e.concat([e.unsqueeze(of(f), [0]) for f in found], 0)

    def initial(i: int) -> Gradient:
        return both(lambda f: f.initial[i])

    def image() -> Value:
        return e.total([f.pre @ part.weight(1, range(gates)) for part, f in zip(parts, found, strict=True)])

    return {
        0: image,
        1: both(lambda f: _products(f.pre, c.x())),
        2: both(lambda f: e.concat([_products(g, rows) for g, rows in f.recurrent], 0)),
        3: both(lambda f: e.concat([_sums(g) for g in (f.pre, *(g for g, _ in f.recurrent))], 0)),
        **{5 + i: initial(i) for i in range(states)},
    }


def _whole(c: Call) -> bool:
    """Whether every sequence is as long as all steps."""
    lengths, steps = c.sizes.value(c.node.inputs[4]), c.fixed()[0]
    return lengths is not None and steps is not None and bool((lengths == steps).all())


def _products(g: Value, rows: Value) -> Value:
    """(gates, width): what a weight gets from all steps and samples."""
    a, b = (e.reshape(v, e.concat([e.ints([-1]), e.size(v, 2)], 0)) for e, v in ((g.emit, g), (g.emit, rows)))
    return g.emit.transpose(a, [1, 0]) @ b


def _sums(g: Value) -> Value:
    """(gates,): what a bias gets from all steps and samples."""
    return g.emit.reduce(g, [0, 1], keepdims=False)


@adjoint_of("LSTM", outputs=None)
def lstm(c: Call) -> Mapping[int, Gradient]:
    """Input, output, forget and cell gate."""
    return _layer(c, 4, ("Sigmoid", "Tanh", "Tanh"), _lstm, 2)


def _lstm(d: Direction) -> Found:
    e, every = d.call.emit, range(4)
    before = d.shifted(d.states, d.initial(5))
    pre = d.product(d.call.x(), 1, every) + d.product(before, 2, every) + d.bias(every, False) + d.bias(every, True)
    i, o, f = (e.op("Sigmoid", d.gate(pre, k)) for k in range(3))
    g = e.op("Tanh", d.gate(pre, 3))

    def cell(inner: Emitter, state: Value, keep: Value, new: Value) -> Sequence[Value]:
        after = state * keep + new
        return after, after

    start = d.initial(6)
    cells = scan([start], [f, i * g], d.backward, 1, cell)[1]
    t = e.op("Tanh", cells)
    slopes = e.concat(
        [g * i * (1.0 - i), t * o * (1.0 - o), d.shifted(cells, start) * f * (1.0 - f), i * (1.0 - g * g)], 2
    )
    steps, (last_h, last_c) = d.cotangents()
    weight = d.weight(2, every)

    def step(
        inner: Emitter, dh: Value, dc: Value, given: Value, slope: Value, through: Value, keep: Value
    ) -> Sequence[Value]:
        dh = dh + given
        dc = dc + dh * through
        pre = inner.concat([dc, dh, dc, dc], 1) * slope
        return pre @ Value(inner, weight.name, weight.dtype), dc * keep, pre

    dh, dc, found = scan([last_h, last_c], [steps, slopes, o * (1.0 - t * t), f], 1 - d.backward, 2, step)
    return Found(found, [dh, dc], [(found, before)])


@adjoint_of("GRU", outputs=None)
def gru(c: Call) -> Mapping[int, Gradient]:
    """Update, reset and hidden gate."""
    return _layer(c, 3, ("Sigmoid", "Tanh"), _gru, 1)


def _gru(d: Direction) -> Found:
    e, late = d.call.emit, bool(d.call.node.attr("linear_before_reset", 0))
    before, x = d.shifted(d.states, d.initial(5)), d.call.x()
    two = range(2)
    pre = d.product(x, 1, two) + d.product(before, 2, two) + d.bias(two, False) + d.bias(two, True)
    z, r = (e.op("Sigmoid", d.gate(pre, k)) for k in two)
    own = d.product(x, 1, [2]) + d.bias([2], False)
    q = d.product(before if late else r * before, 2, [2]) + d.bias([2], True)
    n = e.op("Tanh", own + (r * q if late else q))
    reset = (q if late else before) * r * (1.0 - r)
    rows = [d.cotangents()[0], (before - n) * z * (1.0 - z), (1.0 - z) * (1.0 - n * n), reset, r, z]
    gates, hidden = d.weight(2, two), d.weight(2, [2])

    def step(
        inner: Emitter, dh: Value, given: Value, update: Value, new: Value, reset: Value, r: Value, z: Value
    ) -> Sequence[Value]:
        dh = dh + given
        dn = dh * new
        weight = Value(inner, hidden.name, hidden.dtype)
        through = (dn * r) @ weight if late else dn @ weight
        both = inner.concat([dh * update, (dn if late else through) * reset], 1)
        back = both @ Value(inner, gates.name, gates.dtype) + dh * z
        return back + (through if late else through * r), inner.concat([both, dn], 1)

    dh, found = scan([d.cotangents()[1][0]], rows, 1 - d.backward, 1, step)
    first, last = e.slice(found, [0], [2 * d.width], [2]), d.gate(found, 2)
    return Found(found, [dh], [(first, before), (last * r, before) if late else (last, r * before)])


@adjoint_of("RNN", outputs=None)
def rnn(c: Call) -> Mapping[int, Gradient]:
    """One gate."""
    return _layer(c, 1, (), _rnn, 1)


def _rnn(d: Direction) -> Found:
    names = [str(a).capitalize() for a in d.call.node.attr("activations", ["Tanh"] * (d.index + 1))]
    h, name = d.states, names[d.index]
    if name not in ("Tanh", "Relu"):
        raise NoAdjoint(f"its activations are {', '.join(names)}")
    slope = 1.0 - h * h if name == "Tanh" else h.emit.cast(h > 0.0, h.dtype)
    weight = d.weight(2, [0])

    def step(inner: Emitter, dh: Value, given: Value, slope: Value) -> Sequence[Value]:
        pre = (dh + given) * slope
        return pre @ Value(inner, weight.name, weight.dtype), pre

    steps, last = d.cotangents()
    dh, found = scan([last[0]], [steps, slope], 1 - d.backward, 1, step)
    return Found(found, [dh], [(found, d.shifted(h, d.initial(5)))])
