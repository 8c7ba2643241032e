import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import spa_cli
from tests.builders import build

BATCH_FREE = (
    "(float[N,16] x) => (y) { a = MatMul(x, wa)  b = Relu(a)  c = MatMul(b, wc)  d = Relu(c)  y = MatMul(d, wy) }"
)
FIXED = BATCH_FREE.replace("[N,16]", "[1,16]")


def network(text: str = BATCH_FREE) -> onnx.ModelProto:
    return build(text, wa=(16, 40), wc=(40, 32), wy=(32, 4))


def weights_in_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    tensors = list(model.graph.initializer)
    del model.graph.initializer[:]
    for tensor in reversed(tensors):
        value = numpy_helper.from_array(numpy_helper.to_array(tensor))
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=value))
    return model


def drift(model: onnx.ModelProto, pruned: onnx.ModelProto) -> float:
    import onnxruntime as ort

    x = np.random.default_rng(5).normal(size=(200, 16)).astype(np.float32)
    free = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 0
    outputs = []
    for each in (model, pruned):
        session = ort.InferenceSession(each.SerializeToString())
        parts = [x] if free else np.split(x, len(x))
        outputs.append(np.concatenate([session.run(None, {"x": p})[0] for p in parts]))
    return float(np.linalg.norm(outputs[0] - outputs[1]) / np.linalg.norm(outputs[0]))


@pytest.mark.parametrize("make", [network, lambda: network(FIXED), lambda: weights_in_constants(network())])
def test_layers_are_refitted_and_outputs_stay_closer(make) -> None:
    model = make()
    repaired = spa_cli.prune(model, target_macs=0.6, method="obspa")
    sliced = spa_cli.prune(model, target_macs=0.6, method="l2")
    assert repaired.plan.about["repair"]["refitted"] >= 2
    assert drift(model, repaired.model) < 0.8 * drift(model, sliced.model)


def test_a_linearly_dependent_channel_costs_nothing() -> None:
    model = build("(float[N,16] x) => (y) { a = MatMul(x, wa)  y = MatMul(a, wy) }", wa=(16, 24), wy=(24, 4))
    small = spa_cli.prune(model, ratio=8 / 24, method="obspa")
    assert small.after.channels == 16
    assert drift(model, small.model) < 1e-3


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second = (spa_cli.prune(network(), ratio=0.4, seed=3).model.SerializeToString() for _ in range(2))
    assert first == second


def test_a_join_takes_the_other_branch_into_account() -> None:
    model = build(
        """(float[N,16] x) => (y) {
          a = MatMul(x, wa)  b = Relu(a)  c = MatMul(b, wb)  s = Add(x, c)
          d = MatMul(s, wd)  e = Relu(d)  f = MatMul(e, wf)  t = Add(s, f)
          y = MatMul(t, wy)
        }""",
        wa=(16, 32),
        wb=(32, 16),
        wd=(16, 32),
        wf=(32, 16),
        wy=(16, 4),
    )
    repaired = spa_cli.prune(model, target_macs=0.7)
    sliced = spa_cli.prune(model, target_macs=0.7, method="l2")
    assert repaired.plan.about["repair"]["refitted"] >= 3
    assert drift(model, repaired.model) < 0.8 * drift(model, sliced.model)


def test_what_is_done_of_a_repair_is_told_by_what_its_nodes_take() -> None:
    told = []
    spa_cli.prune(network(), target_macs=0.6, progress=lambda stage, part: told.append((stage, part)))
    parts = [part for stage, part in told if stage.startswith("repairing")]
    # MatMul a, Relu b, MatMul c, Relu d, MatMul y
    *_, a, b, c, d, y = parts
    assert a == 0 and parts == sorted(parts)
    assert b - a > 20 * (c - b) > 0
    assert d - c > 20 * (y - d) > 0
