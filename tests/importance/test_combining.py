"""Aggregation, normalisation, ensembles and focus."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import spa_cli
from spa_cli.calibration.focus import FOCUS, Focus
from spa_cli.errors import UsageError
from spa_cli.importance.aggregation import AGGREGATIONS, agreement
from spa_cli.importance.normalisation import NORMALISATIONS
from spa_cli.importance.recipe import Recipe
from tests.builders import analysed, build, rankings
from tests.samples import calib_path, model_path
from tests.samples import test_set as labelled_images

POSITIVE = st.floats(0.01, 100)
MEMBERS = np.array([[1.0, 2.0, 4.0], [3.0, 9.0, 6.0]])
ONES = np.ones(2)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("sum", [4, 11, 10]),
        ("mean", [2, 5.5, 5]),
        ("max", [3, 9, 6]),
        ("min", [1, 2, 4]),
        ("product", np.sqrt([3, 18, 24])),
        ("first", [1, 2, 4]),
        ("rss", np.sqrt([10, 85, 52])),
        ("balanced", [(3 / 7 + 0.5) / 2, (6 / 7 + 1.5) / 2, (12 / 7 + 1) / 2]),
    ],
)
def test_aggregations(name, expected) -> None:
    np.testing.assert_allclose(AGGREGATIONS[name](MEMBERS, ONES), expected)


def test_dynamic_averages_members_that_agree_and_takes_the_largest_of_those_that_do_not() -> None:
    agreeing = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
    opposed = np.array([[1.0, 2.0, 3.0], [6.0, 4.0, 2.0]])
    assert agreement(agreeing) == pytest.approx(1)
    assert agreement(opposed) == 0
    np.testing.assert_allclose(AGGREGATIONS["dynamic"](agreeing, ONES), [0.5, 1, 1.5])
    np.testing.assert_allclose(AGGREGATIONS["dynamic"](opposed, ONES), [1.5, 1, 1.5])


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_a_single_member_keeps_its_order(name) -> None:
    scores = AGGREGATIONS[name](MEMBERS[:1], np.ones(1))
    assert np.argsort(scores).tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_blocks_are_aggregated_each_by_itself(name) -> None:
    blocks = np.stack([MEMBERS, MEMBERS], 1)
    whole = AGGREGATIONS[name](blocks, ONES)
    assert whole.shape == (2, 3)
    np.testing.assert_allclose(whole[0], whole[1])


@pytest.mark.parametrize("name", ["balanced", "dynamic", "sum", "mean", "max"])
def test_scores_below_zero_keep_their_order(name) -> None:
    scores = np.array([[-3.0, 1.0, 2.0]])
    assert np.argsort(AGGREGATIONS[name](scores, np.ones(1))).tolist() == [0, 1, 2]
    assert np.argsort(AGGREGATIONS[name](-scores, np.ones(1))).tolist() == [2, 1, 0]


@pytest.mark.parametrize("name", ["product", "rss"])
def test_aggregations_that_know_no_sign_refuse_scores_below_zero(name, tmp_path) -> None:
    np.savez(tmp_path / "s.npz", w1=-np.ones((4, 5)), wy=np.ones((5, 3)))
    with pytest.raises(UsageError, match=f"--aggregation {name} needs scores that are not negative"):
        rankings(analysed(NET), f"scores:{tmp_path / 's.npz'}", aggregation=name)


@pytest.mark.parametrize("normalisation", ["none", "standard", "gaussian", "hierarchical"])
def test_a_budget_is_met_whatever_the_sign_of_scores(normalisation) -> None:
    options = {"method": "l2", "aggregation": "rss", "normalisation": normalisation, "round_to": 1}
    done = spa_cli.prune(model_path("digits_resnet"), target_macs=0.8, repair=False, **options)
    assert 0.78 <= done.after.macs / done.before.macs <= 0.8


def test_two_files_of_scores_are_two_criteria(tmp_path) -> None:
    first = {"w1": np.tile(np.arange(5.0), (4, 1)), "w2": np.ones((4, 6))}
    second = {"w1": np.tile(np.arange(5.0)[::-1], (4, 1)), "w2": np.ones((4, 6))}
    for name, arrays_of in (("a", first), ("b", second)):
        np.savez(tmp_path / f"{name}.npz", **arrays_of)
    a, b = (f"scores:{tmp_path / name}.npz" for name in "ab")
    assert np.argmax(_global(a)[:5]) == 4
    assert np.argmax(_global(b)[:5]) == 0
    relative = [_global(m) / _global(m).mean() for m in (a, b)]
    np.testing.assert_allclose(_global(f"{a}+{b}", ensemble="value"), np.mean(relative, 0))


def test_equal_scores_deviate_by_nothing() -> None:
    for name in ("standard", "hierarchical"):
        np.testing.assert_array_equal(NORMALISATIONS[name]([np.full(6, 0.1)], [0])[0], np.zeros(6))


def test_a_channel_of_every_block_counts_as_what_all_of_them_are_worth() -> None:
    found = rankings(analysed(model_path("digits_vit")), "l2", aggregation="sum", normalisation="sum")
    assert any(r.order.ndim == 2 for r in found)
    np.testing.assert_allclose([r.loss.sum() for r in found], 1.0)


def test_the_first_member_is_the_layer_that_makes_the_channel() -> None:
    reordered = build("(float[N,4] x) => (y) { a = MatMul(x, w1) h = Relu(a) y = MatMul(h, w0) }", w0=(5, 3), w1=(4, 5))
    (found,) = rankings(analysed(reordered), "l1", aggregation="first")
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in reordered.graph.initializer}
    np.testing.assert_allclose(found.scores, abs(weights["w1"]).sum(0), rtol=1e-6)


@pytest.mark.parametrize("name", NORMALISATIONS)
@given(data=st.data())
def test_a_normalisation_keeps_the_order_inside_groups(name, data) -> None:
    groups = [data.draw(arrays(np.float64, n, elements=POSITIVE, unique=True)) for n in (3, 5, 8)]
    for before, after in zip(groups, NORMALISATIONS[name](groups, [0, 0, 1]), strict=True):
        assert after.shape == before.shape
        assert np.isfinite(after).all()
        assert (np.diff(after[np.argsort(before)]) >= 0).all()


@pytest.mark.parametrize(
    "name, expected",
    [
        ("none", [1, 2, 5]),
        ("sum", [1 / 8, 2 / 8, 5 / 8]),
        ("mean", [3 / 8, 6 / 8, 15 / 8]),
        ("max", [0.2, 0.4, 1]),
        ("standard", (np.array([1, 2, 5]) - 8 / 3) / np.std([1, 2, 5])),
        ("gaussian", [-0.9674215661, 0, 0.9674215661]),
        ("lamp", [1 / 8, 2 / 7, 1]),
    ],
)
def test_normalisations(name, expected) -> None:
    (found,) = NORMALISATIONS[name]([np.array([1.0, 2.0, 5.0])], [0])
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_adaptive_goes_by_rank_where_scores_hardly_differ_and_by_size_where_they_do() -> None:
    flat, steep = NORMALISATIONS["adaptive"](
        [np.array([1.0, 1.001, 1.002, 1.003]), np.array([1e-6, 1e-6, 2e-6, 4.0])], [0, 0]
    )
    np.testing.assert_allclose(flat, [0.25, 0.75, 1.25, 1.75], atol=0.01)
    share = np.sqrt(3) / (np.sqrt(3) + 1 / np.sqrt(3))
    assert steep[3] == pytest.approx(4 * share + 1.75 * (1 - share), rel=1e-3)


def test_hierarchical_makes_stages_alike() -> None:
    narrow, wide = np.array([0.9, 1.0, 1.1]), np.array([10.0, 100.0, 190.0])
    a, b = NORMALISATIONS["hierarchical"]([narrow, wide], ["one", "other"])
    np.testing.assert_allclose(a, b)
    a, b = NORMALISATIONS["hierarchical"]([narrow, wide], ["same", "same"])
    assert np.ptp(b) > 5 * np.ptp(a)


NET = build(
    """(float[N,4] x) => (y, z) {
      a = MatMul(x, w1)
      h = Relu(a)
      y = MatMul(h, wy)
      b = MatMul(x, w2)
      g = Relu(b)
      z = MatMul(g, wz)
    }""",
    w1=(4, 5),
    wy=(5, 3),
    w2=(4, 6),
    wz=(6, 2),
)


def _global(method, **options) -> np.ndarray:
    return np.concatenate([r.scores for r in rankings(analysed(NET), method, **options)])


def test_an_ensemble_by_rank_is_the_weighted_mean_of_global_ranks() -> None:
    first, second = (np.argsort(np.argsort(_global(m))) for m in ("l1", "fpgm"))
    expected = (first + 3 * second + 4 * 0.5) / 4 / len(first)
    np.testing.assert_allclose(_global("l1+3*fpgm"), expected)


def test_an_ensemble_by_value_is_the_weighted_mean_of_relative_scores() -> None:
    first, second = (_global(m) / _global(m).mean() for m in ("l1", "fpgm"))
    np.testing.assert_allclose(_global("2*l1+fpgm", ensemble="value"), (2 * first + second) / 3)


@pytest.mark.parametrize("method", ["l1", "lamp", "wanda", "l1+fpgm"])
@pytest.mark.parametrize("aggregation", [None, "sum", "mean", "first"])
def test_a_focused_output_counts_more(method, aggregation) -> None:
    plain, focused = (_global(method, aggregation=aggregation, focus=f) for f in ((), ("output=z",)))
    assert focused[5:].mean() / focused[:5].mean() > 1.5 * plain[5:].mean() / plain[:5].mean()


def test_a_focused_output_counts_four_times() -> None:
    plain, focused = (_global("l1", focus=f) for f in ((), ("output=z",)))
    np.testing.assert_allclose(focused[:5], plain[:5])
    np.testing.assert_allclose(focused[5:], FOCUS * plain[5:])


def test_a_focused_output_counts_more_with_obspa() -> None:
    plain, focused = _global("obspa"), _global("obspa", focus=("output=z",))
    np.testing.assert_allclose(focused[:5], plain[:5], rtol=1e-6)
    np.testing.assert_allclose(focused[5:], FOCUS * plain[5:], rtol=1e-6)


def test_focused_classes_and_samples_change_what_is_measured() -> None:
    model, calib = model_path("digits_resnet"), calib_path("digits_resnet")
    plain = spa_cli.prune(model, ratio=0.3, calib=calib, method="wanda").plan
    for focus in (("classes=0,1",), ("samples=0:20",)):
        found = spa_cli.prune(model, ratio=0.3, calib=calib, method="wanda", focus=focus).plan
        assert found.kept != plain.kept
        assert found.about["focus"] == list(focus)


def test_the_outputs_of_focused_classes_move_less() -> None:
    model, calib = model_path("digits_resnet"), calib_path("digits_resnet")
    images, labels = labelled_images("digits_resnet")
    own = images[np.isin(labels, [3, 8])]

    def moved(focus) -> float:
        small = spa_cli.prune(model, target_macs=0.25, calib=calib, calib_samples=128, focus=focus).model
        dense, pruned = (_outputs(m, own) for m in (model.read_bytes(), small.SerializeToString()))
        return float(np.linalg.norm(dense - pruned))

    assert moved(("classes=3,8",)) < moved(())


def _outputs(model, images) -> np.ndarray:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


@pytest.mark.parametrize(
    "options, says",
    [
        ({"method": "magic"}, "'magic' is no criterion"),
        ({"method": "l1+magic"}, "'magic' is no criterion"),
        ({"method": "0*l1"}, "'0\\*l1' is no criterion"),
        ({"method": "scores"}, "'scores' is no criterion"),
        ({"method": "l1:file"}, "'l1:file' is no criterion"),
        ({"aggregation": "magic"}, "--aggregation magic is not known; it is one of sum"),
        ({"normalisation": "magic"}, "--normalisation magic is not known"),
        ({"ensemble": "magic"}, "--ensemble magic is not known; use rank or"),
        ({"method": "obspa", "aggregation": "sum"}, "does not apply to obspa"),
        ({"method": "obspa", "roles": ("producer=2",)}, "--role-weight does not apply to obspa"),
        ({"ensemble": "value"}, "adds up several criteria"),
        ({"roles": ("brother=1",)}, "is not known; write ROLE=NUMBER"),
        ({"roles": ("producer=-1",)}, "is not known; write ROLE=NUMBER"),
        ({"roles": ("producer=0", "consumer=0")}, "leaves no role"),
    ],
)
def test_recipes_that_are_refused(options, says) -> None:
    with pytest.raises(UsageError, match=says):
        Recipe.of(**{"method": "l1", **options})


@pytest.mark.parametrize("text", ["classes=", "classes=a", "classes=-1", "samples=3", "samples=a:b", "output=", "x=1"])
def test_a_focus_that_can_not_be_read(text) -> None:
    with pytest.raises(UsageError, match="is not known; write output=NAME"):
        Focus.of((text,))


@pytest.mark.parametrize(
    "options, says",
    [
        ({"method": "l1", "focus": ("classes=1",)}, "looks at no data"),
        ({"focus": ("samples=0:5",)}, "counts the samples of calib; give the file"),
        ({"focus": ("classes=77",)}, "scores of these classes"),
        ({"focus": ("output=nothing",)}, "the model has no such output; name one of"),
        (
            {"focus": ("samples=9999:",), "calib": calib_path("digits_resnet")},
            "holds none of the .* calibration samples; give one within",
        ),
    ],
)
def test_a_focus_that_does_not_apply(options, says) -> None:
    with pytest.raises(UsageError, match=says):
        spa_cli.prune(model_path("digits_resnet"), ratio=0.2, calib_samples=16, **{"calib": None, **options})
