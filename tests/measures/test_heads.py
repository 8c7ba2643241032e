"""Which outputs say together what is where."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.analysis import analyse_model
from spa_cli.measures import kinds
from spa_cli.measures.detections import Detections
from spa_cli.measures.heads import Heads, layouts
from spa_cli.measures.layout import PROBABILITY, SIGMOID, SOFTMAX, Layout
from spa_cli.measures.panel import Panel
from spa_cli.measures.recognise import Recogniser
from spa_cli.runtime.first_run import first_run
from spa_cli.runtime.load import load
from tests.builders import build
from tests.measures import detectors
from tests.measures.test_recognise import taken


def layout(model, *, said: dict[int, str] | None = None) -> Layout:
    source = load(model)
    analysis = analyse_model(source, {})
    feeds, reference = first_run(source, analysis.graph, analysis.state.shapes, analysis.shapes_to_try, None)
    recogniser = Recogniser(analysis.graph, analysis.state.shapes, reference)
    heads = Heads(analysis.graph, recogniser, {n: np.shape(v) for n, v in feeds.items()}, reference)
    (found,) = layouts(heads, said or {}, len(reference))
    return found


def test_boxes_objectness_and_classes_side_by_side() -> None:
    found = layout(detectors.yolox())
    (level,) = found.levels
    assert (level.raw, level.form, level.background) == (True, PROBABILITY, None)
    assert (level.scores.start, level.likely[0].start, level.boxes.stop) == (5, 4, 4)
    assert found.why == "boxes, objectness and classes at 64 positions, along axis -1"
    assert found.picture == (64, 64)


def test_boxes_and_classes_over_positions() -> None:
    (level,) = layout(detectors.yolov8()).levels
    assert (level.raw, level.likely, level.scores.start, level.scores.axis) == (False, (), 4, -2)


def test_boxes_and_scores_apart() -> None:
    found = layout(detectors.ssd())
    (level,) = found.levels
    assert found.outputs == (0, 1)
    assert (level.raw, level.form, level.background) == (False, PROBABILITY, 0)


def test_several_sizes_with_landmarks() -> None:
    found = layout(detectors.anchors())
    assert found.outputs == (0, 1, 2, 3)
    assert [(one.raw, one.form, one.boxes.output, one.scores.output) for one in found.levels] == [
        (True, SIGMOID, 0, 1),
        (True, SIGMOID, 2, 3),
    ]
    assert "at each position" in found.why


NOT = "(float[N,16] x) => (y, z) { y = MatMul(x, w)  z = MatMul(x, v) }"


@pytest.mark.parametrize(
    "model",
    [
        # no picture goes in
        build(
            "(float[N,12,16] x) => (y, z) { y = MatMul(x, w)  z = MatMul(x, v) }",
            w=(16, 4),
            v=(16, 3),
        ),
        # one object: four numbers, and classes
        build(
            """(float[N,3,8,8] x) => (y, z) {
              f = Flatten(x)  y = MatMul(f, w)  m = MatMul(f, v)  z = Softmax(m) }""",
            w=(192, 4),
            v=(192, 5),
        ),
        # a mask
        build("(float[N,3,8,8] x) => (y) { h = Conv(x, w)  y = Sigmoid(h) }", w=(6, 3, 1, 1)),
    ],
)
def test_what_is_no_detector(model) -> None:
    assert kinds.DETECTIONS not in {kind for kind, _ in taken(model)}


def test_the_user_says_that_it_is_one() -> None:
    """Nothing is computed of the numbers: neither a sigmoid nor a grid tells."""
    model = build(
        """(float[N,3,60,60] x) => (y) {
          h = Conv<strides=[12,12]>(x, w)  f = Reshape(h, s)  y = Transpose<perm=[0,2,1]>(f) }""",
        w=(8, 3, 12, 12),
        s=[0, 8, -1],
    )
    assert taken(model)[0][0] != kinds.DETECTIONS
    (level,) = layout(model, said={0: kinds.DETECTIONS}).levels
    assert (level.form, level.scores.start, len(level.likely)) == (SIGMOID, 5, 1)


def _panel(outputs: dict[str, np.ndarray], size: int) -> Panel:
    """Of a model that gives these, whatever goes in: what chooses boxes itself."""
    text = ", ".join(outputs)
    body = "  ".join(f"{name} = Identity({name}_)" for name in outputs)
    model = build(f"(float[{size},3,64,64] x) => ({text}) {{ {body} }}", **{f"{n}_": v for n, v in outputs.items()})
    analysis = analyse_model(load(model), {})
    feeds = {"x": np.zeros((size, 3, 64, 64), np.float32)}
    return Panel.of(analysis.graph, analysis.state.shapes, feeds, [*outputs.values()])


BOX = np.array(
    [[[0, 0, 10, 10], [20, 20, 40, 40], [0, 0, 0, 0]], [[5, 5, 9, 9], [1, 1, 3, 3], [0, 0, 0, 0]]], np.float32
)
SCORE = np.array([[0.9, 0.6, 0.0], [0.8, 0.1, 0.0]], np.float32)
LABEL = np.array([[1, 2, -1], [1, 1, -1]])


@pytest.mark.parametrize(
    "outputs",
    [
        {"boxes": BOX, "scores": SCORE, "classes": LABEL.astype(np.float32), "num": np.array([2, 2])},
        {"num": np.array([[2], [2]], np.int32), "classes": LABEL, "scores": SCORE, "boxes": BOX},
        {"rows": np.concatenate([BOX, SCORE[..., None], LABEL[..., None]], 2).astype(np.float32)},
        {
            "rows": np.concatenate(
                [np.repeat([0.0, 1.0], 3)[:, None], BOX.reshape(-1, 4), LABEL.reshape(-1, 1), SCORE.reshape(-1, 1)], 1
            ).astype(np.float32)
        },
    ],
)
def test_boxes_that_the_model_chose(outputs) -> None:
    panel = _panel(outputs, 2)
    (one,) = panel.taken
    assert one.kind == kinds.DETECTIONS
    assert set(one.outputs) == set(range(len(outputs)))
    bench = panel.begin()
    values = [*outputs.values()]
    bench.add(values, values, 2)
    (judged,) = bench.judged
    assert (judged.figures["boxes"].value, judged.agreement.value) == (3, 1)


def test_boxes_of_one_picture_come_in_any_number() -> None:
    panel = _panel({"boxes": BOX[0], "labels": LABEL[0], "scores": SCORE[0]}, 1)
    (one,) = panel.taken
    assert isinstance(one.make(), Detections)
    bench = panel.begin()
    bench.add([BOX[0], LABEL[0], SCORE[0]], [BOX[0, :1], LABEL[0, :1], SCORE[0, :1]], 1)
    (judged,) = bench.judged
    assert judged.figures["found_again"].value == 0.5


def test_background_of_logits() -> None:
    """A class that is the likeliest nearly everywhere stands for nothing, others by a sigmoid each."""
    for bias, form in ((4.0, SOFTMAX), (0.0, SIGMOID)):
        offset = np.zeros(4, np.float32)
        offset[3] = bias
        model = build(
            """(float[N,3,64,64] x) => (boxes, logits) {
              a = Conv<strides=[8,8]>(x, wa)  at = Transpose<perm=[0,2,3,1]>(a)
              ar = Reshape(at, s)  boxes = Sigmoid(ar)
              b = Conv<strides=[8,8]>(x, wb, o)  bt = Transpose<perm=[0,2,3,1]>(b)  logits = Reshape(bt, u) }""",
            wa=(4, 3, 8, 8),
            wb=(4, 3, 8, 8),
            o=offset,
            s=[0, -1, 4],
            u=[0, -1, 4],
        )
        (level,) = layout(model).levels
        assert (level.form, level.background, level.raw) == (form, 3 if bias else None, False)
