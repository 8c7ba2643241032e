"""Loops that constants alone let run longer than anybody waits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import spa_cli
from spa_cli.errors import ModelError
from tests.builders import build

ZERO = np.zeros(1, np.float32)
TEXT = "(float[N,5] x) => (y) { a = MatMul(x, w)\n r = Relu(a)\n m = MatMul(r, v)\n e = Neg(z)\n y = Add(m, e) }"
BODY = "(int64 i, bool c, float[1] s) => (bool d, float[1] t) {{ {} }}"


def looping(body: str, trip: int | str, condition: str = "yes") -> onnx.ModelProto:
    """A network with a Loop; ``trip``: how often, or the name of a tensor."""
    model = build(TEXT, w=(5, 8), v=(8, 3), z=ZERO, one=ZERO + 1)
    graph = model.graph
    graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    if isinstance(trip, int):
        graph.initializer.append(helper.make_tensor("trip", TensorProto.INT64, [], [trip]))
        trip = "trip"
    (node,) = [n for n in graph.node if n.op_type == "Neg"]
    inside = onnx.parser.parse_graph(f"inside {BODY.format(body)}")
    node.CopyFrom(helper.make_node("Loop", [trip, condition, "z"], ["e"], name="loop", body=inside))
    return model


GOES_ON = {
    "as it was": "d = Identity(c)\n t = Add(s, one)",
    "true": "d = Constant<value = bool {1}>()\n t = Add(s, one)",
}
ENDS = "q = ReduceSum<keepdims=0>(s)\n d = Less(q, q)\n t = Add(s, one)"


@pytest.mark.parametrize("body", GOES_ON.values(), ids=GOES_ON.keys())
@pytest.mark.parametrize("condition", ["yes", ""])
def test_as_many_as_a_number_can_say(body, condition) -> None:
    said = (
        r"^'loop' of 'model' runs its body 1000000000000 times, and no more than 10000000 are waited for; export it wi"
    )
    for call in (
        spa_cli.inspect,
        lambda m: spa_cli.prune(m, ratio=0.3),
        lambda m: spa_cli.prune(m, ratio=0.3, run=False),
    ):
        with pytest.raises(ModelError, match=said):
            call(looping(body, 10**12, condition))
    with pytest.raises(ModelError, match="'loop' of 'model' runs its body for ever, and no more"):
        spa_cli.inspect(looping(body, "", condition))
    assert spa_cli.prune(looping(body, 1000, condition), ratio=0.3, method="l1").model.graph.node


def test_what_it_works_out_may_end_it_and_so_may_what_comes_in() -> None:
    for trip in (2**63 - 1, ""):
        assert spa_cli.prune(looping(ENDS, trip), ratio=0.3, method="l1").plan.kept
    model = looping(GOES_ON["as it was"], 10**12, "no")
    model.graph.input.append(helper.make_tensor_value_info("no", TensorProto.BOOL, []))
    assert spa_cli.inspect(model).grouping.groups


def test_one_inside_another_multiplies() -> None:
    model = looping(GOES_ON["as it was"], 10**4)
    (outer,) = [a.g for n in model.graph.node if n.op_type == "Loop" for a in n.attribute]
    deep = onnx.parser.parse_graph(
        "deep (int64 j, bool k, float[1] p) => (bool l, float[1] q) { l = Identity(k)\n q = Add(p, one) }"
    )
    often = model.graph.initializer.add()
    outer.node[1].CopyFrom(helper.make_node("Loop", ["often", "yes", "s"], ["t"], name="deep", body=deep))
    often.CopyFrom(helper.make_tensor("often", TensorProto.INT64, [], [1000]))
    assert spa_cli.inspect(model).grouping.groups
    often.CopyFrom(helper.make_tensor("often", TensorProto.INT64, [], [10_000]))
    with pytest.raises(ModelError, match="'deep' of 'model' runs its body 100000000 times"):
        spa_cli.inspect(model)


def test_a_scan_over_what_constants_make() -> None:
    text = TEXT.replace("e = Neg(z)", "long = ConstantOfShape(size)\n e = Neg(z)")
    model = build(text, w=(5, 8), v=(8, 3), z=ZERO, size=[10**9, 1])
    (node,) = [n for n in model.graph.node if n.op_type == "Neg"]
    body = onnx.parser.parse_graph("inside (float[1] s, float[1] p) => (float[1] t) { t = Add(s, p) }")
    node.CopyFrom(helper.make_node("Scan", ["z", "long"], ["e"], name="scan", body=body, num_scan_inputs=1))
    with pytest.raises(ModelError, match="'scan' of 'model' runs its body 1000000000 times, and no more than"):
        spa_cli.inspect(model)
