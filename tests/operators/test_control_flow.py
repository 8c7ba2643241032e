"""If, Loop and Scan: channels inside their bodies and across them."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from spa_cli import apply, prune
from spa_cli.errors import UsageError
from spa_cli.plan import Plan
from tests.builders import analysed, build, case, frozen, groups, inside, weight
from tests.equivalence import assert_groups, assert_removing_is_zeroing

IF = """(float[N,5] x, bool flag) => (float[N,4] y) {
  a = Gemm(x, wa)
  c = If (flag) <
    then_branch = then () => (float[N,7] t) { t0 = MatMul(a, wt)  t = Relu(t0) },
    else_branch = other () => (float[N,7] e) { e0 = MatMul(a, we)  e1 = Tanh(e0)  e = MatMul(e1, wf) }
  >
  y = Gemm(c, wy)
}"""
IF_WEIGHTS = {"wa": (5, 6), "wt": (6, 7), "we": (6, 8), "wf": (8, 7), "wy": (7, 4)}
IF_GROUPS = ["6: wa:1 we:0 wt:0", "7: wf:1 wt:1 wy:0", "8: we:1 wf:0"]

LOOP = """(float[N,5] x) => (float[N,4] y) {
  h0 = Gemm(x, wa)
  h, steps = Loop (three, yes, h0) <
    body = turn (int64 i, bool go, float[N,6] hi) => (bool on, float[N,6] ho, float[N,3] out) {
      u = MatMul(hi, wu)
      v = Tanh(u)
      d = MatMul(v, wd)
      ho = Add(hi, d)
      out = MatMul(v, wo)
      on = Identity(go)
    }
  >
  s = ReduceSum<keepdims=0>(steps, zero)
  t = MatMul(s, ws)
  z = Gemm(h, wy)
  y = Add(z, t)
}"""
LOOP_WEIGHTS = {
    "three": 3,
    "yes": np.array(True),
    "zero": [0],
    "wa": (5, 6),
    "wu": (6, 8),
    "wd": (8, 6),
    "wo": (8, 3),
    "ws": (3, 4),
    "wy": (6, 4),
}
LOOP_GROUPS = ["3: wo:1 ws:0", "6: wa:1 wd:1 wu:0 wy:0", "8: wd:0 wo:0 wu:1"]

SCAN = """(float[T,N,5] x) => (float[T,N,4] y) {
  h0 = ConstantOfShape(size)
  h, steps = Scan (h0, x) <num_scan_inputs=1,
    body = turn (float[2,6] hi, float[2,5] xi) => (float[2,6] ho, float[2,7] out) {
      a = MatMul(xi, wx)
      b = MatMul(hi, wh)
      c = Add(a, b)
      ho = Relu(c)
      out = MatMul(ho, wo)
    }
  >
  y = MatMul(steps, wy)
}"""
SCAN_WEIGHTS = {"size": [2, 6], "wx": (5, 6), "wh": (6, 6), "wo": (6, 7), "wy": (7, 4)}
SCAN_GROUPS = ["6: wh:0 wh:1 wo:0 wx:1", "7: wo:1 wy:0"]


@pytest.mark.parametrize(
    ("model", "expected", "reasons"),
    [
        case("If, weights around", IF, IF_GROUPS, **IF_WEIGHTS),
        case("Loop, weights around", LOOP, LOOP_GROUPS, **LOOP_WEIGHTS),
        case("Scan, weights around", SCAN.replace("T,N", "3,2"), SCAN_GROUPS, **SCAN_WEIGHTS),
        case("Scan, opset 9", SCAN.replace("T,N", "3,2"), SCAN_GROUPS, opset=9, **SCAN_WEIGHTS),
        case(
            "Scan along the last axis, stacked along the last",
            """(float[2,5,3] x) => (float[2,3,4] y) {
              steps = Scan (x) <num_scan_inputs=1, scan_input_axes=[2], scan_output_axes=[-1],
                body = turn (float[2,5] xi) => (float[2,7] out) { a = MatMul(xi, wa)  out = MatMul(a, wo) }
              >
              t = Transpose<perm=[0,2,1]>(steps)
              y = MatMul(t, wy)
            }""",
            ["6: wa:1 wo:0", "7: wo:1 wy:0"],
            wa=(5, 6),
            wo=(6, 7),
            wy=(7, 4),
        ),
        case(
            "a body inside a body",
            """(float[N,5] x, bool flag) => (float[N,4] y) {
              a = Gemm(x, wa)
              h = Loop (three, yes, a) <
                body = turn (int64 i, bool go, float[N,6] hi) => (bool on, float[N,6] ho) {
                  ho = If (flag) <
                    then_branch = then () => (float[N,6] t) { t0 = MatMul(hi, wt)  t = MatMul(t0, wu) },
                    else_branch = other () => (float[N,6] e) { e = Relu(hi) }
                  >
                  on = Identity(go)
                }
              >
              y = Gemm(h, wy)
            }""",
            ["6: wa:1 wt:0 wu:1 wy:0", "7: wt:1 wu:0"],
            three=3,
            yes=np.array(True),
            wa=(5, 6),
            wt=(6, 7),
            wu=(7, 6),
            wy=(6, 4),
        ),
        case(
            "weights carried through a Loop untouched, as tf2onnx writes them",
            """(float[N,5] x) => (float[N,4] y) {
              a = Gemm(x, wa)
              h, again = Loop (three, yes, a, wc) <
                body = turn (int64 i, bool go, float[N,6] hi, float[6,6] w) => (bool on, float[N,6] ho, float[6,6] w) {
                  u = MatMul(hi, w)
                  ho = Tanh(u)
                  on = Identity(go)
                }
              >
              y = Gemm(h, wy)
            }""",
            ["6: wa:1 wc:0 wc:1 wy:0"],
            three=3,
            yes=np.array(True),
            wa=(5, 6),
            wc=(6, 6),
            wy=(6, 4),
        ),
        case(
            "a branch that gives a graph input keeps the channels of both",
            """(float[N,5] x, bool flag) => (float[N,4] y) {
              c = If (flag) <
                then_branch = then () => (float[N,5] t) { t = Identity(x) },
                else_branch = other () => (float[N,5] e) { e0 = MatMul(x, wa)  e = MatMul(e0, wb) }
              >
              y = Gemm(c, wy)
            }""",
            ["6: wa:1 wb:0"],
            {"wb:1": "graph input 'x' keeps its shape", "wy:0": "graph input 'x' keeps its shape"},
            wa=(5, 6),
            wb=(6, 5),
            wy=(5, 4),
        ),
        case(
            "a sequence that grows in a Loop freezes its length and nothing else",
            """(float[1,5] x) => (float[K,4] y) {
              a = Gemm(x, wa)
              h = Loop (three, yes, a) <
                body = turn (int64 i, bool go, float[K,6] hi) => (bool on, float[L,6] ho) {
                  first = Slice(hi, zero, one, zero)
                  u = MatMul(first, wu)
                  v = MatMul(u, wv)
                  ho = Concat<axis=0>(hi, v)
                  on = Identity(go)
                }
              >
              y = Gemm(h, wy)
            }""",
            ["6: wa:1 wu:0 wv:1 wy:0", "7: wu:1 wv:0"],
            three=3,
            yes=np.array(True),
            zero=[0],
            one=[1],
            wa=(5, 6),
            wu=(6, 7),
            wv=(7, 6),
            wy=(6, 4),
        ),
        case(
            "sizes inside a body follow",
            """(float[N,5] x, bool flag) => (float[N,4] y) {
              a = Gemm(x, wa)
              c = If (flag) <
                then_branch = then () => (float[N,6] t) {
                  t0 = Reshape(a, heads)
                  t1 = Tanh(t0)
                  t = Reshape(t1, flat)
                },
                else_branch = other () => (float[N,6] e) { e = Relu(a) }
              >
              y = Gemm(c, wy)
            }""",
            ["2: wa:1*3 wy:0*3", "2x3: wa:1*2 wy:0*2"],
            heads=[0, 2, 3],
            flat=[0, 6],
            wa=(5, 6),
            wy=(6, 4),
        ),
    ],
)
def test_groups(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


@pytest.mark.parametrize(
    ("text", "weights", "expected", "stored"),
    [
        (IF, IF_WEIGHTS, IF_GROUPS, {"wt", "we", "wf"}),
        (LOOP, LOOP_WEIGHTS, LOOP_GROUPS, {"wu", "wd", "wo"}),
        (SCAN.replace("T,N", "3,2"), SCAN_WEIGHTS, SCAN_GROUPS, {"wx", "wh", "wo"}),
    ],
    ids=["If", "Loop", "Scan"],
)
def test_weights_stored_inside_bodies(text, weights, expected, stored) -> None:
    model = inside(build(text, **weights))
    assert analysed(model).graph.hidden == stored
    assert_groups(model, expected)


def test_branches_that_use_the_same_names_are_told_apart() -> None:
    model = inside(build(IF, **IF_WEIGHTS))
    for attribute in model.graph.node[1].attribute:
        body = attribute.g
        names = {t.name: "w" for t in body.initializer if t.name in ("wt", "wf")}
        for tensor in body.initializer:
            tensor.name = names.get(tensor.name, tensor.name)
        for node in body.node:
            node.input[:] = [names.get(i, i) for i in node.input]
    before = model.SerializeToString()
    assert groups(model) == ["6: w:0 wa:1 we:0", "7: w:1 w_2:1 wy:0", "8: w_2:0 we:1"]
    assert model.SerializeToString() == before, "the model that was given is not changed"


def test_a_plan_with_weights_inside_bodies_can_be_applied_again(tmp_path) -> None:
    model = inside(build(LOOP, **LOOP_WEIGHTS))
    result = prune(model, ratio=0.4, method="l1")
    assert result.plan.hidden.keys() <= {"wu", "wd", "wo"} and result.plan.hidden
    file = tmp_path / "plan.json"
    file.write_text(result.plan.to_json())
    again = apply(file, model)
    assert Plan.read(file).hidden == result.plan.hidden
    assert again.model.graph == result.model.graph


def test_the_macs_of_a_loop_count_its_turns() -> None:
    model = build(LOOP.replace("N", "1"), **LOOP_WEIGHTS)
    turn, rest = 6 * 8 + 8 * 6 + 8 * 3, 5 * 6 + 3 * 4 + 6 * 4
    assert analysed(model).costs.macs == 3 * turn + rest


def test_an_unknown_operator_in_a_body_freezes_what_it_touches() -> None:
    text = LOOP.replace("v = Tanh(u)", "v = odd.Thing(u)")
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18, "odd" : 1]>\ngraph {text}')
    model.graph.initializer.extend(numpy_helper.from_array(weight(n, v), n) for n, v in LOOP_WEIGHTS.items())
    assert frozen_without_running(model)["wu:1"] == "spa has no rule for operator odd::Thing"


def frozen_without_running(model) -> dict[str, str]:
    """``frozen`` for a model that neither the checker nor onnxruntime takes."""
    from spa_cli.channels.groups import build_groups
    from spa_cli.graph.shapes import interpret
    from spa_cli.graph.view import build as view
    from spa_cli.operators.analyse import analyse

    graph = view(model, "")
    grouping = build_groups(analyse(graph, interpret(graph, {"x": (1, 5)})))
    return {f"{f.tensor}:{f.axis}": f.reason.text for f in grouping.frozen}


def test_repair_works_around_bodies() -> None:
    model = build(IF, **IF_WEIGHTS)
    result = prune(model, ratio=0.3)
    assert result.plan.about["repair"]["refitted"] >= 1
    assert assert_removing_is_zeroing(result.model) > 0


def test_a_number_beside_the_samples_is_one_number_per_run(tmp_path) -> None:
    model = build(IF, **IF_WEIGHTS)
    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal((40, 5)).astype(np.float32), "flag": rng.random(40) < 0.5}
    np.savez(tmp_path / "calib.npz", **data)
    result = prune(model, ratio=0.3, calib=tmp_path / "calib.npz")
    assert result.plan.about["repair"]["refitted"] >= 1
    np.savez(tmp_path / "short.npz", x=data["x"], flag=data["flag"][:, None])
    with pytest.raises(UsageError, match=r"'flag'.*has shape"):
        prune(model, ratio=0.3, calib=tmp_path / "short.npz")


def test_scan_of_opset_8_is_left_alone() -> None:
    body = helper.make_graph(
        [helper.make_node("MatMul", ["xi", "wa"], ["out"])],
        "turn",
        [helper.make_tensor_value_info("xi", 1, [2, 5])],
        [helper.make_tensor_value_info("out", 1, [2, 6])],
    )
    nodes = [
        helper.make_node("Scan", ["", "x"], ["s"], body=body, num_scan_inputs=1),
        helper.make_node("MatMul", ["s", "wy"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.random(s).astype(np.float32), n) for n, s in (("wa", (5, 6)), ("wy", (6, 4)))
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 3, 2, 5])],
        [helper.make_tensor_value_info("y", 1, [1, 3, 2, 4])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=4)
    assert groups(model) == []
    assert frozen(model)["wa:1"] == "Scan before opset 9 is not followed"


def test_branches_that_depend_on_a_size_keep_what_they_don_t_share() -> None:
    model = build(
        """(float[1,T,5] x) => (y) {
          s = Shape(x)
          t = Gather(s, one)
          long = Greater(t, twenty)
          a = MatMul(x, wa)
          r = If (long) <
            then_branch = then () => (float[1,8,6] p) { p0 = Slice(a, from, to, at)  p = MatMul(p0, w1) },
            else_branch = other () => (float[1,T,6] q) { q = MatMul(a, w2) }
          >
          y = MatMul(r, wy)
        }""",
        one=1,
        twenty=20,
        **{"from": [0], "to": [8], "at": [1]},
        wa=(5, 7),
        w1=(7, 6),
        w2=(7, 6),
        wy=(6, 4),
    )
    assert groups(model) == ["7: w1:0 w2:0 wa:1"]
    assert frozen(model)["w1:1"] == frozen(model)["wy:0"] == "differs between the branches of If"


def test_a_new_name_is_nobody_else_s() -> None:
    model = build(
        """(float[N,5] x, bool flag) => (y) {
          h = Gemm(x, wa)
          c = If (flag) <
            then_branch = then () => (float[N,6] r1) { a = Relu(h)  r1 = Neg(a) },
            else_branch = other () => (float[N,6] r2) { b = Sigmoid(h)  b_2 = Neg(b)  r2 = Mul(b, b_2) }
          >
          y = Gemm(c, wy)
        }""",
        wa=(5, 6),
        wy=(6, 4),
    )
    for attribute in model.graph.node[1].attribute:
        for node in attribute.g.node:
            for names in (node.input, node.output):
                names[:] = [n.replace("b", "a") for n in names]
    assert_groups(model, ["6: wa:1 wy:0"])


def test_what_stays_zero_from_turn_to_turn_stays_exact() -> None:
    """The sum over what a Loop gives does not notice a unit that is zero from the start and after every turn."""
    model = build(
        """(float[N,5] x) => (float[N,1] y) {
          a = Gemm(x, wa)
          h = Loop (three, yes, a) <
            body = turn (int64 i, bool go, float[N,6] hi) => (bool on, float[N,6] ho) {
              u = MatMul(hi, wu)
              v = Tanh(u)
              ho = Add(hi, v)
              on = Identity(go)
            }
          >
          y = ReduceSum(h, axes)
        }""",
        three=3,
        yes=np.array(True),
        axes=[1],
        wa=(5, 6),
        wu=(6, 6),
    )
    assert_groups(model, ["6: wa:1 wu:0 wu:1"])
