"""Boxes: overlap, suppression, and how four numbers say where they are."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.measures import boxes


def test_overlap() -> None:
    a = np.array([[0.0, 0, 2, 2], [5, 5, 6, 6]])
    b = np.array([[1.0, 1, 3, 3], [0, 0, 2, 2]])
    assert boxes.overlap(a, b) == pytest.approx(np.array([[1 / 7, 1], [0, 0]]))


def test_the_likelier_of_two_that_are_one_stays_unless_its_class_is_another() -> None:
    box = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 1, 10, 11]])
    label, score = np.array([1, 1, 1, 2]), np.array([0.5, 0.9, 0.3, 0.4])
    assert boxes.suppressed(box, label, score, 0.5).tolist() == [1, 3, 2]
    assert boxes.suppressed(np.zeros((0, 4)), np.zeros(0), np.zeros(0), 0.5).tolist() == []


@pytest.mark.parametrize(
    ("positions", "size", "expected"),
    [
        (3549, (416, 416), ([(8, 52, 52), (16, 26, 26), (32, 13, 13)], 1)),
        (8400, (640, 640), ([(8, 80, 80), (16, 40, 40), (32, 20, 20)], 1)),
        (25200, (640, 640), ([(8, 80, 80), (16, 40, 40), (32, 20, 20)], 3)),
        (52 * 52, (416, 416), ([(8, 52, 52)], 1)),
        (1234, (416, 416), None),
    ],
)
def test_grids_that_positions_are_of(positions, size, expected) -> None:
    assert boxes.grid_of(positions, *size) == expected


def test_offsets_in_cells_as_yolox_means_them() -> None:
    """As ``/work/shared/tasks/evaluate.py`` decodes: (offset + cell) * stride, exp(size) * stride."""
    levels = [(8, 2, 3), (16, 1, 1)]
    offsets = np.random.default_rng(0).normal(size=(1, 7, 4))
    cells = [(8, x, y) for y in range(2) for x in range(3)] + [(16, 0, 0)]
    for at, (stride, x, y) in enumerate(cells):
        cx, cy, w, h = offsets[0, at]
        centre, size = np.array([cx + x, cy + y]) * stride, np.exp([w, h]) * stride
        expected = np.r_[centre - size / 2, centre + size / 2]
        assert boxes.from_grid(offsets, levels)[0, at] == pytest.approx(expected)


def test_how_finished_boxes_are_said() -> None:
    rng = np.random.default_rng(0)
    low, size = rng.random((200, 2)) * 100, rng.random((200, 2)) * 30 + 5
    corners, centres = np.c_[low, low + size], np.c_[low + size / 2, size]
    assert boxes.decoded_form(corners) == boxes.CORNERS
    assert boxes.decoded_form(centres) == boxes.CENTRES
    assert boxes.around(centres[:, :2], centres[:, 2:]) == pytest.approx(corners)


def test_what_offsets_are_in_units_of() -> None:
    rng = np.random.default_rng(0)
    assert boxes.scale_of(rng.normal(size=(100, 4))) == (0.1, 0.2)
    assert boxes.scale_of(0.1 * rng.normal(size=(100, 4))) == (1, 1)
    assert boxes.scale_of(np.c_[rng.normal(size=(100, 2)), 20 + rng.random((100, 2))]) is None
    box = np.array([[[1.0, 2.0, 0.0, np.log(2.0)]]])
    assert boxes.from_anchors(box, (1.0, 1.0))[0, 0] == pytest.approx([0.5, 1, 1.5, 3])
    assert boxes.from_anchors(np.array([[[10.0, 20, 4, 8]]]), None)[0, 0] == pytest.approx([8, 16, 12, 24])
