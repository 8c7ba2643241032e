"""What is checked of a cut without running the model: a wrong one is found by its form, its shapes, its parts."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from spa_cli.analysis import Analysis, analyse_model
from spa_cli.channels.selection import Selection
from spa_cli.errors import VerificationError
from spa_cli.runtime.load import load
from spa_cli.surgery.cut import Cut
from spa_cli.verification import structure as module
from spa_cli.verification.structure import Structure
from tests.builders import build
from tests.plugins import beside

UNRUN = "what the outputs are, and how long they take: the model was not run"


def _analysed(model) -> tuple[Structure, Analysis]:
    source = load(model)
    analysis = analyse_model(source, {})
    return Structure(source, analysis), analysis


def _cut(analysis: Analysis, gone: int = 2) -> Cut:
    """Of each group the first channels go."""
    selection = Selection(analysis.grouping)
    for index, group in enumerate(analysis.grouping.groups):
        selection.keep(index, np.arange(group.channels) >= gone)
    return analysis.cut(selection)


def _tensor(model, name) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def _swapped(model) -> None:
    """Other channels of the second layer than of the first."""
    weight = numpy_helper.to_array(_tensor(model, "w2"))
    _tensor(model, "w2").CopyFrom(numpy_helper.from_array(weight[:, ::-1].copy(), "w2"))


def _one_more(model) -> None:
    weight = numpy_helper.to_array(_tensor(model, "w4"))
    _tensor(model, "w4").CopyFrom(numpy_helper.from_array(np.pad(weight, ((0, 0), (0, 1))), "w4"))


def _both_one_more(model) -> None:
    """Consistent, and not what was asked for."""
    _one_more(model)
    weight = numpy_helper.to_array(_tensor(model, "w3"))
    _tensor(model, "w3").CopyFrom(numpy_helper.from_array(np.pad(weight, ((0, 1), (0, 0), (0, 0), (0, 0))), "w3"))


def _of_one_sample(model) -> None:
    """Right for the sizes it was analysed at only."""
    for at, node in enumerate(model.graph.node):
        if node.op_type == "Flatten":
            new = helper.make_node("Reshape", [node.input[0], "sizes"], [node.output[0]], name="fixed")
            model.graph.node[at].CopyFrom(new)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 10]), "sizes"))


def _other_output(model) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5


def _not_finite(model) -> None:
    weight = np.full_like(numpy_helper.to_array(_tensor(model, "w2")), np.inf)
    _tensor(model, "w2").CopyFrom(numpy_helper.from_array(weight, "w2"))


def _no_node(model) -> None:
    model.graph.node.remove(next(n for n in model.graph.node if n.op_type == "Flatten"))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_one_more, "(shape inference rejects 'Gemm_y' of the result|onnx's checker rejects the result): "),
        (_both_one_more, "'w3' of the result has shape 11x6x3x3, not 10x6x3x3"),
        (_of_one_sample, "'f' of the result has shape 1x10, not 2x10|shape inference rejects 'fixed' of the result"),
        (_other_output, "the inputs or outputs of the result are not those of the original"),
        (_no_node, "onnx's checker rejects the result"),
        (_not_finite, "'c' of the result is not finite"),
    ],
)
def test_what_does_not_fit_is_refused(spoil, why) -> None:
    structure, analysis = _analysed(beside())
    work = _cut(analysis)
    structure.verify(work.model, work)
    spoil(work.model)
    with pytest.raises(VerificationError, match=why):
        structure.verify(work.model, work)


def test_other_channels_than_were_zeroed_are_found_where_it_runs() -> None:
    structure, analysis = _analysed(beside())
    work = _cut(analysis)
    assert structure.zeroing_differs(work) is None
    _swapped(work.model)
    # shapes are none the wiser
    structure.verify(work.model, work)
    why = structure.zeroing_differs(work)
    assert why is not None
    assert "output 'c' differs by" in why
    assert why.endswith("from zeroing what was removed")


def test_a_part_that_no_longer_runs(monkeypatch) -> None:
    structure, analysis = _analysed(beside())
    work = _cut(analysis)
    part = structure._part
    assert part is not None

    def fails(self, model) -> dict:
        if model is not structure._analysis.graph.model:
            raise RuntimeError("out of luck")
        return {}

    monkeypatch.setattr(type(part), "run", fails)
    with pytest.raises(VerificationError, match="onnxruntime can't run its part of the result: out of luck"):
        structure.verify(work.model, work)
    assert structure.zeroing_differs(work) == "onnxruntime can't run its part of the result: out of luck"


def test_without_a_plan_the_outputs_have_to_be_as_large() -> None:
    structure, analysis = _analysed(beside())
    small = _cut(analysis).model
    structure.verify(small)
    with pytest.raises(VerificationError, match="'y' of the result has shape 1x5, not 1x4"):
        # as its signature says nothing of the axis
        free = beside()
        free.graph.output[0].type.tensor_type.shape.dim[1].ClearField("dim_value")
        other, _ = _analysed(free)
        one_more = onnx.ModelProto.FromString(free.SerializeToString())
        _tensor(one_more, "w4").CopyFrom(numpy_helper.from_array(np.ones((5, 12), np.float32), "w4"))
        other.verify(one_more)


@pytest.mark.parametrize(
    ("model", "not_verified"),
    [
        pytest.param(
            beside(),
            "that removing equals zeroing in 'Plug_p' (1 of 9 nodes), which onnxruntime lacks or can't feed: it was in "
            "all others",
            id="a node",
        ),
        pytest.param(
            beside(q=["N"]),
            "that removing equals zeroing in 'Plug_p', 'Conv_d', 'Relu_e' and others (6 of 9 nodes), which onnxruntime "
            "lacks or can't feed: it was in all others",
            id="what comes behind it",
        ),
        pytest.param(
            build("(float[N,5] x) => (float[N,6] y) { y = own.Plug(x, w) }", domains={"own": 1}, w=(5, 6)),
            "that removing equals zeroing: onnxruntime runs no part of it",
            id="all",
        ),
        pytest.param(
            build(
                "(float[4,5] x) => (float[4,3] y) { a = MatMul(x, w)\n s = Reshape(a, to)\n y = MatMul(s, v) }",
                w=(5, 6),
                to=[5, -1],
                v=(6, 3),
            ),
            "that removing equals zeroing: no part of it ran (",
            id="it does not run at any shape",
        ),
    ],
)
def test_what_was_not_verified_is_told(model, not_verified) -> None:
    structure, _ = _analysed(model)
    first, second = structure.not_verified()
    assert first == UNRUN
    assert second.startswith(not_verified)
    assert structure.runs == second.endswith("in all others")
    assert structure.not_verified(cut=False) == [UNRUN]


def test_a_model_that_runs_as_a_whole_is_compared_as_a_whole() -> None:
    model = build("(float[N,5] x) => (y) { a = MatMul(x, w)\n r = Relu(a)\n y = MatMul(r, v) }", w=(5, 8), v=(8, 3))
    structure, analysis = _analysed(model)
    assert structure.not_verified() == [UNRUN]
    assert structure.zeroing_differs(_cut(analysis)) is None


def test_a_large_model_is_not_run_in_parts(monkeypatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 1000)
    structure, analysis = _analysed(beside())
    assert structure.not_verified()[1] == "that removing equals zeroing: the model is larger than 0 MB"
    work = _cut(analysis)
    structure.verify(work.model, work)
    assert structure.zeroing_differs(work) is None


@pytest.mark.parametrize("to", [[1, -1, 1], [-1], [-1, 1]])
def test_an_axis_that_holds_samples_as_well_is_longer_for_more_of_them(to) -> None:
    text = (
        "(float[N,5] x) => (float[N,3] y) { a = MatMul(x, w)\n r = Relu(a)\n m = MatMul(r, v)\n t = Reshape(m, to)\n"
        " e = ReduceSum<keepdims=0>(t)\n y = Add(m, e) }"
    )
    structure, analysis = _analysed(build(text, to=to, w=(5, 8), v=(8, 3)))
    work = _cut(analysis)
    structure.verify(work.model, work)
    assert work.shape("a") == (1, 6)
