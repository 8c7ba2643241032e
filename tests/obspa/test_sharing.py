"""Weights that several layers read are fitted to all of them together."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import spa_cli
from spa_cli.importance.evidence import Evidence
from spa_cli.obspa import rank
from spa_cli.obspa.at_once import at_once
from spa_cli.obspa.consumers import Reader, together
from spa_cli.obspa.layers import find_layers
from spa_cli.obspa.sharing import share
from spa_cli.options import Options
from tests.builders import analysed, build, positive
from tests.obspa.test_repair import smooth


def norm(width, number) -> dict[str, object]:
    return {
        f"s{number}": positive(width),
        f"o{number}": (width,),
        f"m{number}": (width,),
        f"v{number}": positive(width),
    }


NETWORKS = {
    "two branches": (
        """(float[N,10] x, float[N,10] z) => (y) {
          a = MatMul(x, w)  b = Relu(a)  c = MatMul(b, v)
          d = MatMul(z, w)  e = Relu(d)  f = MatMul(e, v)  y = Sub(c, f) }""",
        {"w": (10, 24), "v": (24, 4)},
        {"MatMul_c", "MatMul_f"},
    ),
    "each behind a Transpose of its own": (
        """(float[N,10] x, float[N,10] z) => (y) {
          a = MatMul(x, w)  b = Relu(a)  tc = Transpose(v)  c = MatMul(b, tc)
          d = MatMul(z, w)  e = Relu(d)  tf = Transpose(v)  f = MatMul(e, tf)  y = Sub(c, f) }""",
        {"w": (10, 24), "v": (4, 24)},
        {"MatMul_c", "MatMul_f"},
    ),
    "one head on two scales, its bias too": (
        """(float[N,4,12,12] x) => (y, k) {
          a = Conv(x, wa, ba)  p = Relu(a)  q = MaxPool<kernel_shape=[2,2], strides=[2,2]>(p)
          c = Conv<pads=[1,1,1,1]>(p, h1, g1)  d = Relu(c)  y = Conv(d, h2, g2)
          e = Conv<pads=[1,1,1,1]>(q, h1, g1)  f = Relu(e)  k = Conv(f, h2, g2) }""",
        {"wa": (16, 4, 3, 3), "ba": (16,), "h1": (16, 16, 3, 3), "g1": (16,), "h2": (3, 16, 1, 1), "g2": (3,)},
        {"Conv_y", "Conv_k"},
    ),
    "norms of their own": (
        """(float[N,4,12,12] x) => (y, k) {
          a = Conv(x, wa, ba)  p = Relu(a)  q = MaxPool<kernel_shape=[2,2], strides=[2,2]>(p)
          c = Conv<pads=[1,1,1,1]>(p, h1)  i = BatchNormalization(c, s1, o1, m1, v1)  d = Relu(i)  y = Conv(d, h2, g2)
          e = Conv<pads=[1,1,1,1]>(q, h1)  j = BatchNormalization(e, s2, o2, m2, v2)  f = Relu(j)  k = Conv(f, h2, g2)
        }""",
        {"wa": (16, 4, 3, 3), "ba": (16,), "h1": (16, 16, 3, 3), "h2": (3, 16, 1, 1), "g2": (3,)}
        | norm(16, 1)
        | norm(16, 2),
        {"Conv_y", "Conv_k"},
    ),
}


def samples(model, count, seed) -> dict[str, np.ndarray]:
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim[1:]] for i in model.graph.input}
    return {name: smooth((count, *shape), seed + at) for at, (name, shape) in enumerate(shapes.items())}


def distance(model, other, feeds) -> float:
    wanted, found = (ort.InferenceSession(m.SerializeToString()).run(None, feeds) for m in (model, other))
    return float(sum(np.linalg.norm(a - b) / np.linalg.norm(a) for a, b in zip(wanted, found, strict=True)))


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_shared_weight_is_refitted(kind, tmp_path) -> None:
    text, weights, refitted = NETWORKS[kind]
    model = build(text, **weights)
    np.savez(tmp_path / "calib.npz", **samples(model, 256, 1))
    result = spa_cli.prune(model, ratio=0.3, calib=tmp_path / "calib.npz")
    about = result.plan.about["repair"]
    assert about["refitted"] >= len(refitted) and not refitted & about["kept_sliced"].keys()
    before = {t.name: t for t in spa_cli.apply(result.plan, model).model.graph.initializer}
    changed = {t.name for t in result.model.graph.initializer if t != before[t.name]}
    assert changed & {"v", "h2"}
    # of the same cut, not repaired
    unseen = samples(model, 64, 11)
    assert distance(model, result.model, unseen) < 0.9 * distance(
        model, spa_cli.apply(result.plan, model).model, unseen
    )


def test_what_one_branch_alone_would_want_is_not_what_they_get(tmp_path) -> None:
    """Hidden unit 0 is unit 1 where x is positive and unit 2 where z is: no single fit serves only one of them."""
    rng = np.random.default_rng(0)
    model = build(NETWORKS["two branches"][0], w=(10, 24), v=(24, 4))
    x, z = samples(model, 256, 1)["x"], 3 * rng.standard_normal((256, 10)).astype(np.float32)
    np.savez(tmp_path / "calib.npz", x=x, z=z)
    result = spa_cli.prune(model, ratio=0.3, calib=tmp_path / "calib.npz")
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    kept = np.array(result.plan.kept["v"]["0"])
    hidden = np.concatenate([np.maximum(i @ stored["w"], 0) for i in (x, z)])
    best = np.linalg.lstsq(hidden[:, kept], hidden @ stored["v"], rcond=None)[0]
    found = next(onnx.numpy_helper.to_array(t) for t in result.model.graph.initializer if t.name == "v")
    wanted = hidden @ stored["v"]
    missed, least, sliced = (np.square(hidden[:, kept] @ w - wanted).sum() for w in (found, best, stored["v"][kept]))
    assert missed < least + 0.1 * (sliced - least)


def test_groups_that_are_ranked_reader_by_reader_have_one_for_both(monkeypatch) -> None:
    """Two that fit one by one count twice what a shared weight can serve: all that is lost is of one fit to both."""
    analysis = analysed(build(NETWORKS["two branches"][0], w=(10, 24), v=(24, 4)))
    index = next(i for i, g in enumerate(analysis.grouping.groups) if g.channels == 24)
    own = Evidence(analysis, Options(ratio=0.3, calib_samples=64)).curvature
    (((one,),),) = own.consumers.one_by_one(index)
    assert one.rows == sum(own.statistics[key].moments.rows for key in ("c", "f"))
    all_of_it = own.rankings[index].loss.sum()
    alone: list[object] = []
    monkeypatch.setattr(rank, "at_once", lambda *given: alone.append(given) or at_once(*given))
    monkeypatch.setattr(rank, "portion", lambda share: 0)
    few = Evidence(analysis, Options(ratio=0.3, calib_samples=64)).curvature.rankings[index].loss.sum()
    assert alone and few == pytest.approx(all_of_it, rel=1e-6)


def layers(text, **weights) -> list:
    analysis = analysed(build(text, **weights))
    graph, shapes = analysis.graph, analysis.state.shapes
    return share(graph, shapes, find_layers(graph, shapes))


def test_layers_that_read_one_another_are_not_fitted_together() -> None:
    text = "(float[N,4] x) => (y) { a = MatMul(x, w)  b = Relu(a)  y = MatMul(b, w) }"
    assert [layer.unfit for layer in layers(text, w=(4, 4))] == [
        "its weight is shared by layers that read one another"
    ] * 2


def test_a_weight_that_something_else_reads_too_is_left_alone() -> None:
    text = """(float[N,4] x, int64[N] i) => (y, z) {
      a = MatMul(x, w)  b = MatMul(x, w)  y = Add(a, b)  z = Gather<axis=0>(w, i) }"""
    assert [layer.unfit for layer in layers(text, w=(4, 5))] == ["its weight is shared"] * 2


def test_one_consumer_reads_what_any_of_them_reads() -> None:
    w, places = np.ones((2, 3)), np.arange(3)[:, None]
    a, b = (
        Reader(name, w, h * np.eye(3), np.full(3, h), rows, places, weight, part=("w", 0))
        for name, h, rows, weight in (("a", 1.0, 5, 3.0), ("b", 2.0, 7, 1.0))
    )
    alone = Reader("c", w, np.eye(3), np.zeros(3), 2, places, 1.0)
    first, second = together([a, alone, b])
    assert first is alone
    assert (second.node, second.rows, second.weight) == ("a", 12, 4.0)
    # errors add up: 3 * 1 + 1 * 2
    assert np.allclose(second.weight * second.h, 5 * np.eye(3)) and np.allclose(second.mean, 1.25)
    other = Reader("d", 2 * w, b.h, b.mean, 7, places, 1.0, part=("w", 0))
    assert together([a, other]) == [a, other]
