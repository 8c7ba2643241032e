"""Folders of images, against Pillow and NumPy by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from spa_cli.calibration import spread
from spa_cli.calibration.read import read_samples
from spa_cli.calibration.reading import Reading
from spa_cli.errors import UsageError
from spa_cli.options import Options
from tests.calibration.graphs import graph, image_graph

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _pixels(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three colour images of 6 x 4 pixels."""
    for i in range(3):
        Image.fromarray(_pixels(i, 6, 4)).save(tmp_path / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("most", [30, 15], ids=["more than is usual", "more than twice that"])
def test_a_picture_of_enormous_size_is_not_unpacked(folder, monkeypatch, most) -> None:
    """Pillow's own limit: of less than twice as much it would only warn."""
    Image.fromarray(_pixels(9, 6, 6)).save(folder / "1.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    with pytest.raises(UsageError, match=r"1\.png' can't be read \(Image size \(36 pixels\) exceeds limit of"):
        read_samples(folder / "1.png", image_graph("n", 3, 6, 6))


def test_pixels_are_normalised_channel_by_channel(folder) -> None:
    reading = Reading.of(Options(mean="0.485,0.456,0.406", std=list(STD)))
    found = read_samples(folder, image_graph("n", 3, 6, 4), reading).data["image"]
    for i in range(3):
        for c in range(3):
            by_hand = (_pixels(i, 6, 4)[..., c] / 255 - MEAN[c]) / STD[c]
            np.testing.assert_allclose(found[i, c], by_hand, rtol=1e-5, atol=1e-6)


def test_colors_layout_and_range(folder) -> None:
    reading = Reading(color="bgr", image_range=255, mean=(10.0,), std=(2.0,))
    found = read_samples(folder, image_graph("n", 6, 4, 3), reading).data["image"]
    np.testing.assert_allclose(found[1], (_pixels(1, 6, 4)[..., ::-1].astype(float) - 10) / 2)


def test_a_layout_that_the_shape_does_not_tell(folder) -> None:
    free = image_graph("n", "a", "b", "c")
    with pytest.raises(UsageError, match="can't be told where its channels are; give --layout nchw or nhwc"):
        read_samples(folder, free)
    assert read_samples(folder, free, Reading(layout="nhwc")).data["image"].shape == (3, 6, 4, 3)
    assert read_samples(folder, free, Reading(layout="nchw")).data["image"].shape == (3, 3, 6, 4)


@pytest.mark.parametrize("size, cut", [((30, 80), (0, 25, 30, 55)), ((80, 30), (25, 0, 55, 30))])
def test_the_shorter_side_is_resized_and_the_middle_cut_out(tmp_path, size, cut) -> None:
    height, width = size
    # smooth, so that the order of cutting and resizing plays no part inside
    y, x = np.mgrid[:height, :width]
    image = Image.fromarray((2 * x + y).astype(np.uint8))
    image.save(tmp_path / "i.png")
    (found,) = read_samples(tmp_path, image_graph("n", 1, 10, 10)).data["image"][:, 0]
    left, upper, right, lower = cut[1], cut[0], cut[3], cut[2]
    by_hand = np.asarray(image.crop((left, upper, right, lower)).resize((10, 10), Image.Resampling.BILINEAR)) / 255
    np.testing.assert_allclose(found, by_hand, atol=1.01 / 255)


def test_a_grey_model_sees_grey(folder) -> None:
    by_hand = np.asarray(Image.fromarray(_pixels(0, 6, 4)).convert("L")) / 255
    np.testing.assert_allclose(read_samples(folder, image_graph("n", 1, 6, 4)).data["image"][0, 0], by_hand, rtol=1e-6)
    np.testing.assert_allclose(read_samples(folder, image_graph("n", 6, 4)).data["image"][0], by_hand, rtol=1e-6)


def test_an_integer_model_sees_pixels_as_they_are(folder) -> None:
    target = image_graph("n", 6, 4, 3, dtype=TensorProto.UINT8)
    found = read_samples(folder, target).data["image"]
    assert found.dtype == np.uint8
    assert (found[2] == _pixels(2, 6, 4)).all()
    with pytest.raises(UsageError, match="takes pixels from 0 to 255 as they are; leave --mean, --std"):
        read_samples(folder, target, Reading(mean=(0.5,)))


def test_free_sizes_are_those_the_images_have_or_the_user_gives(folder) -> None:
    free = image_graph("n", 3, "h", "w")
    found = read_samples(folder, free)
    assert found.data["image"].shape == (3, 3, 6, 4)
    assert found.about == f"{folder} (3 images, 6x4)"
    given = Reading.of(Options(input_shape={"image": (1, 3, 5, 7)}))
    assert read_samples(folder, free, given).data["image"].shape == (3, 3, 5, 7)
    Image.fromarray(_pixels(9, 9, 9)).save(folder / "other.png")
    assert read_samples(folder, image_graph("n", 3, "h", "w")).data["image"].shape == (4, 3, 224, 224)


def test_modes_of_other_images(tmp_path) -> None:
    deep = np.array([[0, 257 * 100], [257 * 200, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    Image.fromarray(np.full((2, 2, 4), (10, 20, 30, 0), np.uint8)).save(tmp_path / "b.png")
    Image.fromarray(np.full((2, 2, 3), (10, 20, 30), np.uint8)).quantize().save(tmp_path / "c.png")
    found = read_samples(tmp_path, image_graph("n", 2, 2, 3), Reading(image_range=255)).data["image"]
    np.testing.assert_allclose(found[0, ..., 0], [[0, 100], [200, 255]])
    np.testing.assert_allclose(found[1:].reshape(-1, 3), [[10, 20, 30]] * 8)
    with_alpha = read_samples(tmp_path / "b.png", image_graph("n", 2, 2, 4), Reading(image_range=255, color="bgr"))
    np.testing.assert_allclose(with_alpha.data["image"].reshape(-1, 4), [[30, 20, 10, 0]] * 4)


def test_sub_folders_are_classes(tmp_path) -> None:
    for i, name in enumerate(("dog/1.png", "cat/deep/2.PNG", "emu/.hidden.png", "dog/0.jpg", ".git/x.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_pixels(i, 5, 5)).save(tmp_path / name)
    found = read_samples(tmp_path, image_graph("n", 3, 5, 5))
    assert found.labels is not None
    # cat 0, dog 1, emu 2, the last without an image
    assert found.labels.tolist() == [0, 1, 1]
    np.testing.assert_allclose(found.data["image"][0], _pixels(1, 5, 5).transpose(2, 0, 1) / 255, rtol=1e-6)
    Image.fromarray(_pixels(0, 5, 5)).save(tmp_path / "loose.png")
    assert read_samples(tmp_path, image_graph("n", 3, 5, 5)).labels is None


def test_one_sub_folder_is_no_class(folder) -> None:
    (folder / "all").mkdir()
    for file in folder.glob("*.png"):
        file.rename(folder / "all" / file.name)
    found = read_samples(folder, image_graph("n", 3, 6, 4))
    assert (found.count, found.labels) == (3, None)


def test_a_link_back_is_no_endless_folder(folder) -> None:
    (folder / "loop").symlink_to(folder)
    assert read_samples(folder, image_graph("n", 3, 6, 4)).count == 3


def test_a_limit_is_spread_over_the_classes(tmp_path) -> None:
    for c in range(4):
        (tmp_path / f"c{c}").mkdir()
        for i in range(5):
            Image.fromarray(np.full((2, 2), 10 * c + i, np.uint8)).save(tmp_path / f"c{c}" / f"{i}.bmp")
    found = read_samples(tmp_path, image_graph("n", 1, 2, 2), Reading(image_range=255), limit=8)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert found.data["image"][:, 0, 0, 0].tolist() == [0, 2, 10, 12, 20, 22, 30, 32]
    assert found.about == f"{tmp_path} (8 of 20 images, 2x2)"


def test_no_more_is_read_than_fits_in_memory(monkeypatch) -> None:
    assert spread.spread(10, None) == list(range(10))
    assert spread.spread(10, 3) == [0, 3, 6]
    monkeypatch.setattr(spread, "working_memory", lambda: 100)
    assert spread.spread(10, None, 50) == [0, 5]
    assert spread.spread(10, None, 500) == [0]


@pytest.mark.parametrize(
    "target, reading, says",
    [
        (graph(a=(1, ["n", 3, 6, 4]), b=(1, ["n", 2])), {}, "a model with one input, this one has a, b; give an .npz"),
        (image_graph("n", 5, 6, 4), {"layout": "nchw"}, "has 5 channels, images have 1, 3 or 4; give an .npz"),
        (image_graph("n", 12), {}, r"takes \['n', 12\], which is no image; give an .npz"),
        (image_graph("n", 3, 6, 4, dtype=TensorProto.INT8), {}, "is of type int8, which holds no pixels"),
        (image_graph("n", 1, 6, 4), {"mean": MEAN}, "--mean has 3 values, input 'image' has 1 channels"),
        (image_graph("n", 3, 6, 4), {"std": (1.0, 2.0)}, "--std has 2 values, input 'image' has 3 channels"),
    ],
)
def test_models_that_take_no_such_images(folder, target, reading, says) -> None:
    with pytest.raises(UsageError, match=says):
        read_samples(folder, target, Reading(**reading))


def test_images_that_can_not_be_read(folder) -> None:
    (folder / "x.jpg").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"the image '.*x\.jpg' can't be read \(.*\); mend it or take it out"):
        read_samples(folder, image_graph("n", 3, 6, 4))
    (folder / "x.jpg").unlink()
    whole = (folder / "0.png").read_bytes()
    (folder / "0.png").write_bytes(whole[:60])
    with pytest.raises(UsageError, match=r"the image '.*0\.png' can't be read"):
        read_samples(folder, image_graph("n", 3, 6, 4))
    Image.fromarray(np.ones((6, 4), np.float32)).save(folder / "0.tif")
    with pytest.raises(UsageError, match=r"its pixels are floating-point numbers; give an \.npz"):
        read_samples(folder / "0.tif", image_graph("n", 1, 6, 4))


def test_without_pillow(folder, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.ImageOps", None)
    with pytest.raises(
        UsageError, match=r"images need Pillow \(.*\); install it in spa's own environment: pip install pillow"
    ):
        read_samples(folder, image_graph("n", 3, 6, 4))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
def test_ways_to_fit_a_wide_image(tmp_path, mode, channels) -> None:
    """White on the left, black in the middle, white on the right."""
    wide = np.full((4, 12, channels), 255, np.uint8)
    wide[:, 4:8, :3] = 0
    Image.fromarray(wide.squeeze(), mode).save(tmp_path / "0.png")
    found = {}
    for fit in ("crop", "letterbox", "stretch"):
        data = read_samples(tmp_path, image_graph("n", channels, 6, 6), Reading(image_range=255, fit=fit)).data["image"]
        found[fit] = data[0, 0]
    # its middle
    assert found["crop"].max() < 60
    # all of it, with grey above and below
    assert (found["letterbox"][[0, 1, 4, 5]] == 114).all()
    assert found["letterbox"][2:4, 0].min() > 200
    assert found["letterbox"][2:4, 2:4].max() < 60
    # all of it, in other proportions
    assert found["stretch"][:, 0].min() > 200
    assert found["stretch"][:, 2:4].max() < 60


def test_a_way_to_fit_that_is_not_known() -> None:
    with pytest.raises(UsageError, match="--fit squeeze is not known; use one of crop, letterbox, stretch"):
        Reading(fit="squeeze")
