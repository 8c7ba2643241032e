"""Which boxes are found again: the same class, at the same place, each once."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from spa_cli.measures import boxes
from spa_cli.measures.detections import Detections
from spa_cli.measures.judged import Found
from spa_cli.measures.layout import Channels, Finished, Layout, Level
from tests.measures import detectors
from tests.measures.test_recognise import panel

CHOSEN = Layout((0, 1, 2), "", finished=Finished(0, 1, 2))
BOX = np.array([[[0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60]]], float)
SCORE, LABEL = np.array([[0.9, 0.6, 0.3]]), np.array([[1, 2, 1]])


def found(other: list[np.ndarray]) -> Found:
    measure = Detections(CHOSEN)
    measure.add([BOX, SCORE, LABEL], other, 1)
    return measure.found


@pytest.mark.parametrize(
    ("change", "again", "new"),
    [
        (lambda b, s, c: (b, s, c), 3, 0),
        # a little aside, too far, of another class, not sure enough
        (lambda b, s, c: (b + 1, s, c), 3, 0),
        (lambda b, s, c: (b + np.array([[[5, 0, 5, 0], [0] * 4, [0] * 4]]), s, c), 2, 1),
        (lambda b, s, c: (b, s, c * 0 + 1), 2, 1),
        (lambda b, s, c: (b, s * 0.8, c), 2, 0),
        # in another order, and one of them twice
        (lambda b, s, c: (b[:, ::-1], s[:, ::-1], c[:, ::-1]), 3, 0),
        (lambda b, s, c: (b[:, [0, 0, 1, 2]], s[:, [0, 0, 1, 2]], c[:, [0, 0, 1, 2]]), 3, 1),
        (lambda b, s, c: (b, s * 0, c), 0, 0),
    ],
)
def test_found_again(change, again, new) -> None:
    one = found([*change(BOX, SCORE, LABEL)])
    assert one.figures["found_again"].value == pytest.approx(again / 3)
    assert one.figures["new_boxes"].value == new
    assert one.agreement.value == pytest.approx(again / max(3, again + new))


def test_boxes_everywhere_are_no_better_than_none() -> None:
    """Every one of the original's is found again, among a hundred that are not there."""
    rng = np.random.default_rng(0)
    measure = Detections(CHOSEN)
    for _ in range(10):
        low = rng.random((1, 100, 2)) * 500 + 100
        many = np.concatenate([BOX, np.concatenate([low, low + 5], 2)], 1)
        measure.add([BOX, SCORE, LABEL], [many, np.full((1, 103), 0.9), np.ones((1, 103))], 1)
    one = measure.found
    assert one.figures["found_again"].value == pytest.approx(2 / 3)
    assert one.agreement.value < 0.03 and one.ruined


def test_of_nothing_nothing_is_said() -> None:
    measure = Detections(CHOSEN)
    measure.add([BOX, SCORE * 0, LABEL], [BOX, SCORE, LABEL], 1)
    assert (measure.found.agreement, measure.found.ruined) == (None, False)
    assert measure.found.text.startswith("the original finds nothing on these samples")


def _run(model, x: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": x})


def _by_hand(raw: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Boxes of one picture of ``detectors.yolox``, as its program would find them."""
    y, x = np.divmod(np.arange(64), 8)
    centre, size = (raw[:, :2] + np.stack([x, y], 1)) * 8, np.exp(raw[:, 2:4]) * 8
    place = np.concatenate([centre - size / 2, centre + size / 2], 1)
    score = raw[:, 4:5] * raw[:, 5:]
    label, best = score.argmax(1), score.max(1)
    keep = [k for k in np.argsort(-best) if best[k] >= 0.25]
    left: list[int] = []
    for k in keep:
        if all(label[j] != label[k] or boxes.overlap(place[[j]], place[[k]])[0, 0] <= 0.5 for j in left):
            left.append(int(k))
    return [(int(label[k]), place[k]) for k in left]


def test_raw_heads_are_decoded_as_their_program_does() -> None:
    x = np.random.default_rng(0).normal(size=(6, 3, 64, 64)).astype(np.float32) * 0.2
    model, other = detectors.yolox(), detectors.yolox()
    for tensor in other.graph.initializer:
        if tensor.name == "wc":
            w = np.array(np.frombuffer(tensor.raw_data, np.float32))
            tensor.raw_data = (w + 0.05 * np.random.default_rng(1).normal(size=w.shape)).astype(np.float32).tobytes()
    before, after = _run(model, x), _run(other, x)
    bench = panel(model).begin()
    bench.add(before, after, 6)
    (judged,) = bench.judged
    same = total = 0
    for a, b in zip(before[0], after[0], strict=True):
        ours, theirs = _by_hand(a), _by_hand(b)
        total += len(ours)
        for label, place in ours:
            near = [boxes.overlap(place[None], p[None])[0, 0] if c == label else 0 for c, p in theirs]
            if near and max(near) >= 0.5:
                same += 1
                theirs.pop(int(np.argmax(near)))
    assert total > 40
    assert judged.figures["boxes"].value == total
    assert judged.figures["found_again"].value == pytest.approx(same / total, abs=2 / total)


@pytest.mark.parametrize("make", [detectors.yolox, detectors.yolov8, detectors.ssd, detectors.anchors])
def test_a_detector_finds_its_own_boxes_and_another_does_not(make) -> None:
    x = np.random.default_rng(0).normal(size=(8, 3, 64, 64)).astype(np.float32) * 0.3
    model = make()
    before, other = _run(model, x), _run(make("other"), x)
    own, strange = panel(model).begin(), panel(model).begin()
    own.add(before, before, 8)
    strange.add(before, other, 8)
    ((same,), (lost,)) = (own.judged, strange.judged)
    assert same.figures["boxes"].value > 20
    assert (same.agreement.value, same.ruined) == (1, False)
    assert lost.agreement.value < 0.4 and lost.ruined


def test_offsets_from_anchors_are_compared_at_their_position() -> None:
    """Offsets of two positions may be the same numbers, and are of two boxes."""
    level = Level(Channels(0, stop=4), Channels(1), raw=True)
    layout = Layout((0, 1), "", (level,))
    place = np.random.default_rng(0).normal(size=(1, 50, 4))
    place[:, 1] = place[:, 0]
    score = np.zeros((1, 50, 1))
    score[:, 0] = 0.9
    shifted = np.roll(score, 1, axis=1)
    measure = Detections(layout)
    measure.add([place, score], [place, shifted], 1)
    assert measure.found.figures["found_again"].value == 0
    same = Detections(layout)
    same.add([place, score], [place + 0.5, score], 1)
    assert same.found.figures["found_again"].value == 1
