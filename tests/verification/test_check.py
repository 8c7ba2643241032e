"""Verification: what passes, what doesn't, and what happens to a group whose cut is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

import spa_cli
from spa_cli.analysis import analyse_model
from spa_cli.channels.selection import Selection
from spa_cli.errors import SpaError, VerificationError
from spa_cli.operators import registry
from spa_cli.operators.rewrite import cut
from spa_cli.runtime.load import load
from spa_cli.runtime.made_up import synthetic
from spa_cli.runtime.session import open_session, run
from spa_cli.runtime.timing import latency
from spa_cli.surgery.remaining import removed_mask
from spa_cli.verification.check import signature, verify_file, zeroing_differs
from spa_cli.verification.drift import drift
from tests.samples import SAMPLES, model_path

_BODY = """<ir_version: 9, opset_import: ["" : 17]>
g (float[n, 6] x) => (float[n, 3] y) {
 a = MatMul (x, w1)
 b = Relu (a)
 c = MatMul (b, w2)
 t = Transpose <perm = [1, 0]> (c)
 d = Reshape (t, shape)
 e = Transpose <perm = [1, 0]> (d)
 y = MatMul (e, w3)
}"""


def _model(seed: int = 0) -> onnx.ModelProto:
    """x -> w1 -> w2 -> Reshape to a constant shape -> w3."""
    model = onnx.parser.parse_model(_BODY)
    rng = np.random.default_rng(seed)
    for name, shape in (("w1", (6, 8)), ("w2", (8, 10)), ("w3", (10, 3))):
        model.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    model.graph.initializer.append(numpy_helper.from_array(np.array([10, -1]), "shape"))
    return model


def _save(model: onnx.ModelProto, path) -> str:
    onnx.save(model, path)
    return str(path)


def _verify(path: str, model: onnx.ModelProto, original: onnx.ModelProto) -> list[object]:
    feeds = {"x": np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)}
    return verify_file(_save(model, path), original, (True, True), run(open_session(original), feeds), feeds)


def test_a_good_model_passes_and_gives_its_outputs(tmp_path) -> None:
    (output,) = _verify(tmp_path / "m", _model(1), _model())
    assert output.shape == (4, 3)


@pytest.mark.parametrize("what", ["input", "output"])
def test_another_signature_fails(tmp_path, what) -> None:
    changed = _model()
    getattr(changed.graph, what)[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    assert signature(changed) != signature(_model())
    with pytest.raises(VerificationError, match="not those of the original"):
        _verify(tmp_path / "m", changed, _model())


def test_initializers_listed_as_inputs_are_not_part_of_the_signature() -> None:
    old = _model()
    old.graph.input.append(onnx.helper.make_tensor_value_info("w1", 1, [6, 8]))
    assert signature(old) == signature(_model())


def test_an_invalid_model_fails(tmp_path) -> None:
    broken = _model()
    broken.graph.node[1].op_type = "Reluu"
    with pytest.raises(VerificationError, match="checker rejects the result"):
        _verify(tmp_path / "m", broken, _model())


def test_a_model_that_does_not_run_fails(tmp_path) -> None:
    broken = _model()
    broken.graph.initializer[3].CopyFrom(numpy_helper.from_array(np.array([7, -1]), "shape"))
    with pytest.raises(VerificationError, match="checker rejects the result"):
        _verify(tmp_path / "m", broken, _model())
    # where the original did not pass the checker either
    with pytest.raises(VerificationError, match="onnxruntime can't run the result: "):
        verify_file(str(tmp_path / "m"), _model(), (False, False), [], {"x": np.zeros((4, 6), np.float32)})


def test_outputs_that_are_not_finite_fail(tmp_path) -> None:
    broken = _model()
    broken.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((6, 8), np.inf, np.float32), "w1"))
    with pytest.raises(VerificationError, match="output 'y' of the result is not finite"):
        _verify(tmp_path / "m", broken, _model())


def test_outputs_of_another_shape_or_type_fail(tmp_path) -> None:
    feeds = {"x": np.zeros((4, 6), np.float32)}
    path, (y,) = _save(_model(), tmp_path / "m"), run(open_session(_model()), feeds)
    with pytest.raises(VerificationError, match=r"output 'y' of the result has shape \(4, 3\), not \(3, 3\)"):
        verify_file(path, _model(), (True, True), [y[:3]], feeds)
    with pytest.raises(VerificationError, match="output 'y' of the result has type float32, not float64"):
        verify_file(path, _model(), (True, True), [y.astype(float)], feeds)


def test_drift() -> None:
    a = np.array([[1.0, 2.0], [3.0, 0.0]], np.float32)
    assert drift([a], [a]) == drift([a], [a.copy()])
    assert (drift([a], [a]).relative_l2, drift([a], [a]).agreement) == (0.0, 1.0)
    moved = drift([a], [np.array([[1.0, 2.0], [0.0, 3.0]], np.float32)])
    assert moved.relative_l2 == pytest.approx(np.sqrt(18 / 14))
    assert moved.agreement == 0.5
    assert drift([np.ones(3)], [np.zeros(3)]).agreement is None
    assert drift([np.array(["a"]), a], [np.array(["b"]), a]).relative_l2 == 0.0


def test_removed_mask() -> None:
    assert removed_mask((2, 3), {"1": [0, 2]}).tolist() == [[False, True, False]] * 2
    assert removed_mask((2, 3), {"0": [1], "1": [0, 1, 2]}).tolist() == [[True] * 3, [False] * 3]
    blocks = removed_mask((2, 3), {"1": [[0], [2]]})
    assert blocks.tolist() == [[False, True, True], [True, True, False]]


def test_latency_of_a_model_with_itself_is_about_the_same() -> None:
    model = _model()
    timing = latency(model, model, {"x": np.zeros((4, 6), np.float32)}, budget=0.1)
    assert 1 / 20 < timing.left < 20
    assert 1 / 20 < timing.quiet_left < 20
    assert 0 < timing.quiet_before <= timing.before
    assert 0 < timing.quiet_after <= timing.after


@pytest.mark.parametrize("name", SAMPLES)
def test_cutting_exact_groups_equals_zeroing_and_zeroing_notices_a_slip(name) -> None:
    analysis = analyse_model(load(model_path(name)), {})
    selection = Selection(analysis.grouping)
    for index, group in enumerate(analysis.grouping.groups):
        if group.exact:
            mask = np.ones((len(group.blocks), group.channels) if len(group.blocks) else group.channels, bool)
            mask[..., ::3] = False
            selection.keep(index, mask)
    work = cut(analysis.graph, analysis.state, analysis.grouping, selection, {})
    feeds = synthetic(analysis.graph, analysis.input_shapes)
    assert zeroing_differs(analysis.graph, work, feeds) is None
    tensor = next(t for t in work.model.graph.initializer if work.changed(t.name) and len(t.dims) >= 2)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.5), tensor.name))
    assert "differs by" in (zeroing_differs(analysis.graph, work, feeds) or "")


# -- a rule that is wrong ---------------------------------------------------------------------------------------------


def _break(monkeypatch: pytest.MonkeyPatch, op: str, rewrite: object) -> None:
    records = registry.records()
    monkeypatch.setitem(records, ("", op), replace(records["", op], rewrite=rewrite))


def _wrong_size(node: object, work: object) -> None:
    work.set_constant(node, 1, np.array([1, -1]))


def _raises(node: object, work: object) -> None:
    raise ValueError("a slip of the pen")


def _forgets(node: object, work: object) -> None:
    pass


@pytest.mark.parametrize("rewrite", [_wrong_size, _raises, _forgets])
def test_a_group_whose_cut_is_wrong_is_left_whole_and_the_rest_is_cut(tmp_path, monkeypatch, rewrite) -> None:
    _break(monkeypatch, "Reshape", rewrite)
    result = spa_cli.prune(_model(), tmp_path / "small.onnx", ratio=0.5, method="l1")
    assert [w for w in result.warnings if "group 'w2' was left whole: " in w]
    shapes = {t.name: tuple(t.dims) for t in onnx.load(tmp_path / "small.onnx").graph.initializer}
    assert shapes["w1"][1] < 8
    assert shapes["w2"] == (shapes["w1"][1], 10)
    assert shapes["w3"] == (10, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["small.onnx"]


def test_apply_does_not_leave_anything_whole_on_its_own(tmp_path, monkeypatch) -> None:
    plan = spa_cli.prune(_model(), ratio=0.5, method="l1").plan
    _break(monkeypatch, "Reshape", _wrong_size)
    with pytest.raises(VerificationError, match="the plan can't be carried out"):
        spa_cli.apply(plan, _model(), tmp_path / "small.onnx")
    assert list(tmp_path.iterdir()) == []


def test_if_no_group_survives_it_says_so(tmp_path, monkeypatch) -> None:
    _break(monkeypatch, "Reshape", _raises)
    with pytest.raises(SpaError, match="nothing in"):
        spa_cli.prune(_model(), tmp_path / "small.onnx", ratio=0.5, method="l1", ignore=("w1",))
    assert list(tmp_path.iterdir()) == []
