"""LSTM, GRU and RNN, as loops over time that can be differentiated twice (``families``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from spa_cli.gradients.operators import Call, Tensor, operator

_ACTIVATIONS: dict[str, Any] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softsign": F.softsign,
    "softplus": F.softplus,
    "hardsigmoid": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
}
_DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}

State = tuple[Tensor, ...]
Cell = Callable[[Tensor, State], State]


@operator("LSTM", "GRU", "RNN")
def recurrent(
    call: Call, x: Tensor, w: Tensor, r: Tensor, b: Tensor = None, lengths: Tensor = None, *initial: Tensor
) -> Any:
    """All directions, any ``layout``, ragged lengths, initial states, peepholes; activations without parameters."""
    if call.attr("clip") is not None or call.attr("activation_alpha") or call.attr("activation_beta"):
        raise NotImplementedError(f"{call.op} with clip or parameters of activations")
    batch_first = bool(call.attr("layout", 0))
    x = x.transpose(0, 1) if batch_first else x
    names = [n.lower() for n in call.attr("activations") or _DEFAULTS[call.op] * w.shape[0]]
    if any(n not in _ACTIVATIONS for n in names):
        raise NotImplementedError(f"{call.op} with activations {names}")
    each = len(names) // w.shape[0]
    hidden, cell, peephole = (*initial, None, None, None)[:3]
    outputs, finals = [], []
    for d in range(w.shape[0]):
        backwards = call.attr("direction", "forward") == "reverse" or d == 1
        acts = [_ACTIVATIONS[n] for n in names[d * each : (d + 1) * each]]
        state = tuple(_initial(s, d, x, r.shape[2], batch_first) for s in (hidden, cell)[: _STATES[call.op]])
        bias = torch.zeros(2 * w.shape[1], dtype=w.dtype) if b is None else b[d]
        p = None if peephole is None else peephole[d]
        into, step = _STEPS[call.op](call, w[d], r[d], bias, acts, p)
        y, state = _walk(F.linear(x, w[d], into), step, state, lengths, backwards)
        outputs.append(y)
        finals.append(state)
    y = torch.stack(outputs, 1)
    last = [torch.stack(parts) for parts in zip(*finals, strict=True)]
    if batch_first:
        y, last = y.permute(2, 0, 1, 3), [s.transpose(0, 1) for s in last]
    return (y, *last)[: call.outputs] if call.outputs > 1 else y


_STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}


def _initial(state: Tensor, d: int, x: Tensor, size: int, batch_first: bool) -> Tensor:
    if state is None:
        return torch.zeros((x.shape[1], size), dtype=x.dtype)
    return state[:, d] if batch_first else state[d]


def _walk(given: Tensor, step: Cell, state: State, lengths: Tensor, backwards: bool) -> tuple[Tensor, State]:
    """Outputs (time, batch, hidden) and the state at the end; a sample that is over keeps its state and gives zeros."""
    outputs: list[Tensor] = [None] * given.shape[0]
    for t in reversed(range(given.shape[0])) if backwards else range(given.shape[0]):
        after = step(given[t], state)
        if lengths is None:
            state, outputs[t] = after, after[0]
        else:
            going = (t < lengths).unsqueeze(-1)
            state = tuple(torch.where(going, a, s) for a, s in zip(after, state, strict=True))
            outputs[t] = torch.where(going, after[0], torch.zeros_like(after[0]))
    return torch.stack(outputs), state


def _lstm(call: Call, w: Tensor, r: Tensor, bias: Tensor, acts: Sequence[Any], p: Tensor) -> tuple[Tensor, Cell]:
    """Gates in ONNX's order: input, output, forget, cell (Hochreiter & Schmidhuber 1997, Gers & Schmidhuber 2000)."""
    if call.attr("input_forget", 0):
        raise NotImplementedError("LSTM with input_forget")
    gate, inner, outer = acts
    wb, rb = bias.chunk(2)
    pi, po, pf = p.chunk(3) if p is not None else (0.0, 0.0, 0.0)

    def step(x: Tensor, state: State) -> State:
        h, c = state
        i, o, f, g = (x + F.linear(h, r)).chunk(4, -1)
        c_next = gate(f + pf * c) * c + gate(i + pi * c) * inner(g)
        return gate(o + po * c_next) * outer(c_next), c_next

    return wb + rb, step


def _gru(call: Call, w: Tensor, r: Tensor, bias: Tensor, acts: Sequence[Any], p: Tensor) -> tuple[Tensor, Cell]:
    """Gates in ONNX's order: update, reset, hidden (Cho et al. 2014); ``linear_before_reset`` as in cuDNN."""
    gate, inner = acts
    wb, rb = bias.chunk(2)
    size = r.shape[1]
    after = bool(call.attr("linear_before_reset", 0))

    def step(x: Tensor, state: State) -> State:
        (h,) = state
        zr = gate(x[..., : 2 * size] + F.linear(h, r[: 2 * size], rb[: 2 * size]))
        z, reset = zr.chunk(2, -1)
        if after:
            candidate = inner(x[..., 2 * size :] + reset * F.linear(h, r[2 * size :], rb[2 * size :]))
        else:
            candidate = inner(x[..., 2 * size :] + F.linear(reset * h, r[2 * size :], rb[2 * size :]))
        return ((1 - z) * candidate + z * h,)

    return wb, step


def _rnn(call: Call, w: Tensor, r: Tensor, bias: Tensor, acts: Sequence[Any], p: Tensor) -> tuple[Tensor, Cell]:
    """Elman's (1990)."""
    wb, rb = bias.chunk(2)
    return wb + rb, lambda x, state: (acts[0](x + F.linear(state[0], r)),)


_STEPS: dict[str, Any] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
