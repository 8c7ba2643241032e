"""Errors of the installed onnxruntime and of onnx's checker, provoked: the node and the shapes, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from spa_cli.runtime.said import mend, said
from spa_cli.runtime.session import checker_verdict, open_session
from tests.builders import build
from tests.cli.running import refused, spa

MLP = "(float[N,8] x) => (float[N,4] y) { h = MatMul(x, wa)  r = Relu(h)  y = MatMul(r, wb) }"
WEIGHTS = {"wa": (8, 16), "wb": (16, 4)}
CONV = "(float[N,3,H,W] x) => (y) { h = Conv(x, wa)  y = Add(h, grid) }"
TABLE = "(float[N,5] x) => (float[N,5] z) { m = Mul(x, big)  i = Cast<to=7>(m)  z = Gather(table, i) }"
BRANCH = """(float[N,8] x, bool c) => (float[N,4] y) {
  y = If (c) <then_branch = g () => (float[N,4] p) { p = MatMul(x, wa) },
              else_branch = h () => (float[N,4] q) { q2 = Add(x, wc)  q = MatMul(q2, wa) }>
}"""
RESHAPED = "(float[N,8] x) => (float[M,4] y) { h = MatMul(x, wa)  q = Reshape(h, s)  y = MatMul(q, wb) }"
HUGE = """(float[N,8] x) => (float[N,4] y, float o) {
  y = MatMul(x, wb)
  z = ConstantOfShape(s)
  o = ReduceMax<keepdims=0>(z)
}"""


def _mlp(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    model = build(MLP, **WEIGHTS)
    change(model)
    return model


def _same_names(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.name = "same"


def _operator(name: str, domain: str = "") -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[1].op_type, model.graph.node[1].domain = name, domain
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))

    return change


def _weight(value: np.ndarray) -> Callable[[onnx.ModelProto], object]:
    return lambda model: model.graph.initializer[1].CopyFrom(numpy_helper.from_array(value, "wb"))


def _set(path: str, value: object) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        *owners, last = path.split(".")
        holder = model
        for owner in owners:
            holder = holder[int(owner)] if owner.isdecimal() else getattr(holder, owner)
        if last.isdecimal():
            holder[int(last)] = value
        else:
            setattr(holder, last, value)

    return change


# not loaded: what is said, and what to do
LOADING = {
    "two nodes of one name": (
        _same_names,
        "two nodes with same node name (same)",
        "give every node a name of its own, or none",
    ),
    "unknown domain": (
        _operator("Odd", "own"),
        "own:Odd(-1) is not a registered function/op",
        "give --no-run to go by its structure only, or export it with operators it knows",
    ),
    "unknown operator": (
        _operator("Gelux"),
        "Gelux node 'Relu_r': No Op registered for Gelux with domain_version of 18",
        "export it with operators that ONNX has",
    ),
    "operator of a later opset": (
        _operator("Gelu"),
        "Gelu node 'Relu_r': No Op registered for Gelu with domain_version of 18",
        "export it at opset 20, the first with Gelu",
    ),
    "attribute": (
        lambda m: m.graph.node[1].attribute.append(helper.make_attribute("foo", 1)),
        "Relu node 'Relu_r': Unrecognized attribute: foo for operator Relu",
        "export it again",
    ),
    "types": (
        _weight(np.ones((16, 4))),
        "Type Error: Type parameter (T) of Optype (MatMul) bound to",
        "cast one side to",
    ),
    "shapes": (
        _weight(np.ones((15, 4), np.float32)),
        "MatMul node 'MatMul_y': Incompatible dimensions for matrix multiplication",
        "export it again",
    ),
    "opset": (_set("opset_import.0.version", 99), "Opset 99 is under development", "export it at opset"),
    "IR version": (
        _set("ir_version", 99),
        "Unsupported model IR version: 99, max supported",
        "install a newer onnxruntime",
    ),
    "no such input": (
        _set("graph.node.2.input.1", "none"),
        "Node input 'none' is not a graph input",
        "export it again",
    ),
    "no such output": (
        _set("graph.output.0.name", "none"),
        "Graph output (none) does not exist in the graph",
        "export",
    ),
    "a circle": (_set("graph.node.0.input.0", "y"), "the graph is not acyclic", "export it again"),
    "two tensors of one name": (
        _set("graph.node.1.output.0", "h"),
        "Duplicate definition of name (h)",
        "give every tensor a name of its own",
    ),
    "no kernel": (_operator("QuickGelux", "com.microsoft"), "com.microsoft:QuickGelux(-1) is not a", "give --no-run"),
}


def _nobody_reads_this(text: str) -> None:
    """Places in the source of onnxruntime, and how it numbers errors."""
    assert not re.search(r"\.(cc|h|hpp):\d|onnxruntime_src|ONNXRuntimeError|std::|was false|Status Message", text), text


@pytest.mark.parametrize("case", LOADING)
def test_a_model_that_is_not_loaded(case, tmp_path) -> None:
    change, text, what = LOADING[case]
    onnx.save(_mlp(change), tmp_path / "a model.onnx")
    with pytest.raises(Exception, match="ONNXRuntimeError") as caught:
        ort.InferenceSession(str(tmp_path / "a model.onnx"))
    assert text in said(caught.value)
    _nobody_reads_this(said(caught.value))
    assert mend(caught.value).startswith(what)


def test_a_type_that_there_is_no_kernel_for() -> None:
    model = build("(float[N,8] x) => (y) { h = Cast<to=16>(x)  k = Hardmax(h)  y = Cast<to=1>(k) }")
    with pytest.raises(Exception, match="NOT_IMPLEMENTED") as caught:
        open_session(model)
    assert said(caught.value).startswith("Could not find an implementation for Hardmax(13) node with name 'Hardmax_k'")
    assert mend(caught.value) == "convert it to float32, or install an onnxruntime that computes it"


X = np.ones((2, 8), np.float32)
IMAGES = {"wa": (8, 3, 3, 3), "grid": (1, 8, 30, 30)}
RUNNING = {
    "reshaped": (
        (RESHAPED, {**WEIGHTS, "s": [7, 16]}, {"x": X}),
        "Reshape node 'Reshape_q': The input tensor cannot be reshaped to the requested shape. Input shape:{2,16}, "
        "requested shape:{7,16}",
    ),
    "multiplied": (
        (MLP.replace("N,8", "N,M"), WEIGHTS, {"x": X[:, :7]}),
        "MatMul node 'MatMul_h': MatMul dimension mismatch",
    ),
    "added": (
        (CONV, IMAGES, {"x": np.ones((1, 3, 20, 20), np.float32)}),
        "Add node 'Add_y': Attempting to broadcast an axis by a dimension other than 1. 18 by 30",
    ),
    "convolved": (
        (
            CONV.replace("N,3", "N,C"),
            {"wa": (8, 3, 3, 3), "grid": (1, 8, 1, 1)},
            {"x": np.ones((1, 4, 9, 9), np.float32)},
        ),
        "Conv node 'Conv_h': Input channels C is not equal to kernel channels * group. C: 4 kernel channels: 3 "
        "group: 1",
    ),
    "looked up": (
        (TABLE, {"big": 1e9, "table": (4,)}, {"x": np.ones((1, 5), np.float32)}),
        "Gather node 'Gather_z': indices element out of data bounds, idx=1000000000 must be within the inclusive "
        "range [-4,3]",
    ),
    "in a body": (
        (BRANCH, {"wa": (8, 4), "wc": (5, 8)}, {"x": X, "c": np.array(False)}),
        "If node 'If_y': Add node: Attempting to broadcast an axis by a dimension other than 1. 2 by 5",
    ),
    "memory": (
        (HUGE, {"wb": (8, 4), "s": [1 << 40]}, {"x": X}),
        "ConstantOfShape node 'ConstantOfShape_z': Failed to allocate memory for requested buffer of size "
        "4398046511104",
    ),
    "an input's rank": ((MLP, WEIGHTS, {"x": X[0]}), "Invalid rank for input: x Got: 1 Expected: 2"),
    "an input's size": (
        (MLP, WEIGHTS, {"x": X[:, :7]}),
        "Got invalid dimensions for input: x for the following indices index: 1 Got: 7 Expected: 8",
    ),
}


@pytest.mark.parametrize("case", RUNNING)
def test_a_model_that_does_not_run(case) -> None:
    (text, weights, feeds), expected = RUNNING[case]
    session = open_session(build(text, **weights))
    with pytest.raises(Exception, match="ONNXRuntimeError") as caught:
        session.run(None, feeds)
    assert said(caught.value) == expected
    assert mend(caught.value) == ("use a machine with more memory" if case == "memory" else "export it again")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            _set("graph.node.2.input.1", "none"),
            "Nodes in a graph must be topologically sorted, however input 'none'",
        ),
        (_set("graph.node.1.output.0", "h"), "Graph must be in single static assignment (SSA) form, however 'h' has"),
        (
            _operator("Gelux"),
            "No Op registered for Gelux with domain_version of 18 ==> Context: Bad",
        ),
    ],
)
def test_what_the_checker_says_is_in_one_line(change, text) -> None:
    verdict = checker_verdict(_mlp(change), full=False)
    assert said(verdict).startswith(text)
    assert "\n" not in said(verdict)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        # as builds for Windows say it, which name the function without what it takes
        (
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Reshape node. "
            "Name:'r' Status Message: D:\\a\\_work\\1\\s\\onnxruntime\\core\\cpu\\tensor\\reshape_helper.h:45 "
            "onnxruntime::ReshapeHelper::ReshapeHelper input_shape_size == size was false. Input shape:{2}, wanted:{3}",
            "Reshape node 'r': Input shape:{2}, wanted:{3}",
        ),
        # signatures that end later than their first bracket does
        ("/src/a.cc:7 void f<lambda()>::operator()(int) const [with T = float] it broke.", "it broke"),
        ("/src/a.h:7 int g(const std::function<void(int)>&) x > 0 was false.", "x > 0"),
        ("/src/a.h:7 (never closed", "(never closed"),
        (ValueError(), "ValueError"),
        ("", "no message"),
        (KeyError("a"), "'a'"),
        ("one.\n\n  two", "one. two"),
        ("w" * 200 + ". " + "v" * 200, "w" * 200),
        ("word " * 100, "word " * 59 + "word [all of it with --debug]"),
    ],
)
def test_what_else_is_said(error, text) -> None:
    assert said(error) == text


def test_the_whole_text_comes_with_debug(tmp_path) -> None:
    path = tmp_path / "m.onnx"
    layers = "h = Gemm(x, wa)  r = Relu(h)  y = Gemm(r, wb)"
    text = TABLE.replace("=> (", "=> (float[N,3] y, ").replace("{", f"{{ {layers} ")
    onnx.save(build(text, big=1e9, table=(4,), wa=(5, 8), wb=(8, 3)), path)
    options = ("prune", path, "-o", tmp_path / "s.onnx", "--ratio", 0.3, "--method", "l1")
    assert re.fullmatch(
        r"'m.onnx' does not run on synthetic inputs, 'x' of 1x5, 2x5 and 8x5 \(Gather node 'Gather_z': "
        r"indices element out of data bounds, idx=-?\d+ must be within the inclusive range \[-4,3\]\); "
        r"give --input-shape or --calib",
        refused(3, *options),
    )
    assert "[ONNXRuntimeError]" in spa(*options, "--debug").err


def test_names_that_hold_what_places_look_like() -> None:
    """A node may be called like a file."""
    assert said("MatMul node '/model/net.h/MatMul': it broke") == "MatMul node '/model/net.h/MatMul': it broke"
