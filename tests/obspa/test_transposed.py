"""A transposed convolution with a BatchNorm behind it: its matrix has a row for every tap, the norm one per channel."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa_cli
from spa_cli.importance.evidence import Evidence
from spa_cli.options import Options
from tests.builders import analysed, build, doubts, positive
from tests.equivalence import assert_removing_is_zeroing
from tests.obspa.test_repair import smooth

# group, kernel, whether it has a bias; eight channels, so that eight groups are one each
KINDS = [(1, 2, True), (1, 3, False), (2, 2, False), (2, 3, True), (8, 2, True), (8, 3, False)]


def network(group: int, kernel: int, bias: bool) -> onnx.ModelProto:
    pads = ", pads=[1,1,1,1]" if kernel == 3 else ""
    own = {"bt": (8,)} if bias else {}
    return build(
        f"""(float[N,3,6,6] x) => (y) {{
          a = Conv(x, wa)
          r = Relu(a)
          t = ConvTranspose<group={group}, strides=[2,2]{pads}>(r, wt{", bt" if bias else ""})
          n = BatchNormalization(t, s, o, m, v)
          q = Relu(n)
          y = Conv(q, wy)
        }}""",
        wa=(8, 3, 1, 1),
        wt=(8, 8 // group, kernel, kernel),
        s=positive(8),
        o=(8,),
        m=(8,),
        v=positive(8),
        wy=(2, 8, 1, 1),
        **own,
    )


@pytest.mark.parametrize(("group", "kernel", "bias"), KINDS)
@pytest.mark.parametrize("data", ["noise", "samples"])
def test_it_is_pruned_and_repaired(group, kernel, bias, data, tmp_path) -> None:
    """On noise the layers are those of a copy of the model, whose norms have the noise's statistics."""
    model = network(group, kernel, bias)
    np.save(tmp_path / "calib.npy", smooth((64, 3, 6, 6), 1))
    calib = {"calib": tmp_path / "calib.npy"} if data == "samples" else {"calib_samples": 32}
    for method in ("l1", "obspa"):
        small = spa_cli.prune(model, ratio=0.3, method=method, **calib)
        assert doubts(small) == []
        assert small.after.params < small.before.params
    about = small.plan.about["repair"]
    assert about["refitted"] + len(about["kept_sliced"]) >= 1
    assert set(about["kept_sliced"].values()) <= {"no fit did better on held-back samples"}


@pytest.mark.parametrize(("group", "kernel", "bias"), KINDS)
def test_removing_is_zeroing(group, kernel, bias) -> None:
    assert assert_removing_is_zeroing(network(group, kernel, bias)) > 0


@pytest.mark.parametrize(("group", "kernel"), [(1, 2), (1, 3), (2, 3)])
def test_the_norm_scales_every_tap_of_its_channel(group, kernel) -> None:
    model = network(group, kernel, True)
    analysis = analysed(model)
    curvature = Evidence(analysis, Options(ratio=0.5, calib_samples=16)).curvature
    index = next(
        i
        for i, g in enumerate(analysis.grouping.groups)
        if ("wt", 0) in {(m.tensor, m.axis) for m in g.members} and g.channels * max(1, len(g.blocks)) == 8
    )
    graph = curvature._graph
    scale = graph.array("s") / np.sqrt(graph.array("v") + 1e-5)
    weight = numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "wt"))
    for block, found in enumerate(curvature.consumers[index]):
        (reading,) = [r for r in found if r.node == "ConvTranspose_t"]
        own = slice(block * 8 // group, (block + 1) * 8 // group)
        for channel, column in enumerate(weight[own]):
            folded = scale[own].reshape(-1, 1, 1) * column
            assert np.allclose(reading.w[:, channel], folded.reshape(-1), rtol=1e-5)


@pytest.mark.parametrize("equation", ["bgi,gio->bog", "bi,iok->bo"])
def test_a_norm_behind_a_product_of_other_rows_than_its_channels(equation) -> None:
    """Several problems side by side, or an axis summed away: the norm is not the layer's own."""
    batched = equation.startswith("bgi")
    model = build(
        f"""(float[N,{"4," if batched else ""}5] x) => (y) {{
          h = MatMul(x, wa)
          r = Relu(h)
          t = Einsum<equation="{equation}">(r, wt)
          n = BatchNormalization(t, s, o, m, v)
          f = Flatten(n)
          y = MatMul(f, wy)
        }}""",
        wa=(5, 6),
        wt=(4, 6, 8) if batched else (6, 8, 3),
        s=positive(8),
        o=(8,),
        m=(8,),
        v=positive(8),
        wy=(32 if batched else 8, 2),
    )
    small = spa_cli.prune(model, ratio=0.3, calib_samples=128)
    assert doubts(small) == []
    assert small.plan.about["repair"]["refitted"] >= 1
