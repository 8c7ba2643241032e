"""Layers through time."""

import numpy as np
import pytest
from onnx import numpy_helper

from tests.adjoints.differences import adjoint_of, check, model_of, noise

CASES = [
    (op, direction, extra)
    for op in ("LSTM", "GRU", "RNN")
    for direction in ("forward", "reverse", "bidirectional")
    for extra in ("", "states")
]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _model(op, direction, states, attributes="", outputs="y", opset=14, fed=False) -> tuple:
    d, h, i, gates = 1 + (direction == "bidirectional"), 3, 2, GATES[op]
    weights = {
        "w": noise(d, gates * h, i, seed=1).astype(np.float32),
        "r": noise(d, gates * h, h, seed=2).astype(np.float32),
        "b": noise(d, 2 * gates * h, seed=3).astype(np.float32),
    }
    inputs = {"x": noise(4, 2, i).astype(np.float32)}
    if states:
        inputs["h"] = noise(d, 2, h, seed=4).astype(np.float32)
        if op == "LSTM":
            inputs["c"] = noise(d, 2, h, seed=5).astype(np.float32)
    own = list(inputs)[1:]
    if fed:
        inputs, weights = inputs | weights, {}
    more = f", , {', '.join(own)}" if states else ""
    body = f'y, last{", cell" if op == "LSTM" else ""} = {op}<hidden_size={h}, direction="{direction}"{attributes}>'
    model = model_of(f"{body} (x, w, r, b{more})", inputs, weights, outputs, opset, "float")
    return model, inputs


@pytest.mark.parametrize(("op", "direction", "extra"), CASES)
def test_layer(op, direction, extra) -> None:
    outputs = "y last cell" if op == "LSTM" else "y last"
    model, inputs = _model(op, direction, extra, outputs=outputs)
    check(model, inputs, list(inputs), step=1e-2, tolerance=2e-3)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_weights(op, direction) -> None:
    model, inputs = _model(op, direction, "states", fed=True)
    check(model, inputs, ["w", "r", "b"], step=1e-2, tolerance=2e-3)


@pytest.mark.parametrize("late", [0, 1])
def test_reset(late) -> None:
    model, inputs = _model("GRU", "forward", "", f", linear_before_reset={late}", fed=True)
    check(model, inputs, ["x", "w", "r", "b"], step=1e-2, tolerance=2e-3)


@pytest.mark.parametrize("op", GATES)
def test_what_onnxruntime_infers_no_number_of_axes_of(op) -> None:
    model, inputs = _model(op, "forward", "")
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    weights |= {name: np.array([value]) for name, value in (("zero", 0), ("one", 1), ("three", 3), ("two", 2))}
    weights |= {"second": np.array(1), "narrow": weights["w"][..., :1].repeat(3, 2)}
    body = f"""d = Shape(x)  g = Gather<axis=0>(d, second)  n = Unsqueeze<axes=[0]>(g)
      at = Concat<axis=0>(two, n, three)  h = ConstantOfShape(at)  s = Slice(h, zero, one, zero)
      a, q = {op}<hidden_size=3>(x, w, r, b, , s)  k = Squeeze<axes=[1]>(a)
      y, last = {op}<hidden_size=3>(k, narrow, r, b, , s)"""
    check(model_of(body, inputs, weights, "y last", 11, "float", free=True), inputs, ["x"], step=1e-2, tolerance=2e-3)


def test_last_state_alone() -> None:
    model, inputs = _model("LSTM", "forward", "", outputs="last")
    model.graph.node[0].output[0] = ""
    check(model, inputs, ["x"], step=1e-2, tolerance=2e-3)


def test_relu() -> None:
    model, inputs = _model("RNN", "forward", "", ', activations=["Relu"]')
    check(model, inputs, ["x"], step=1e-3, tolerance=2e-3)


@pytest.mark.parametrize(
    ("attributes", "reason"), [(", clip=1.0", "clips"), (', activations=["Relu","Tanh","Tanh"]', "activations")]
)
def test_what_is_missing(attributes, reason) -> None:
    model, inputs = _model("LSTM", "forward", "", attributes)
    assert reason in adjoint_of(model, inputs, ["x"]).missing["x"]


@pytest.mark.parametrize("lengths", [[4, 4], [4, 3]])
def test_lengths_of_sequences(lengths) -> None:
    """Where they are those of all steps, they say nothing."""
    model, inputs = _model("LSTM", "forward", "")
    model.graph.node[0].input.append("lengths")
    model.graph.initializer.append(numpy_helper.from_array(np.array(lengths, np.int32), "lengths"))
    if lengths == [4, 4]:
        check(model, inputs, ["x"], step=1e-2, tolerance=2e-3)
    else:
        assert "it has lengths of sequences" in adjoint_of(model, inputs, ["x"]).missing["x"]
