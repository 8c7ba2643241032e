"""--input-shape in the spellings of the ecosystem."""

from __future__ import annotations

import pytest

from spa_cli.errors import UsageError
from spa_cli.options.shapes import parse_shapes, shapes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image:1,3,224,224", {"image": (1, 3, 224, 224)}),
        ("image:1x3x224x224", {"image": (1, 3, 224, 224)}),
        ("image:[1,3,224,224]", {"image": (1, 3, 224, 224)}),
        ("ids:[1, 128] mask:[1, 128]", {"ids": (1, 128), "mask": (1, 128)}),
        ("ids:1x128,mask:1x64", {"ids": (1, 128), "mask": (1, 64)}),
        ("image,1x3x224x224", {"image": (1, 3, 224, 224)}),
        ("input:0:1,3", {"input:0": (1, 3)}),
        ("/in/x:1x2,c:0:3x4", {"/in/x": (1, 2), "c:0": (3, 4)}),
        ("x:7", {"x": (7,)}),
    ],
)
def test_spellings(text, expected) -> None:
    assert parse_shapes([text]) == shapes(text) == expected


def test_an_axis_behind_the_samples_may_be_empty() -> None:
    assert parse_shapes(["past:1,2,0,4"]) == {"past": (1, 2, 0, 4)}


def test_several_options_add_up() -> None:
    assert parse_shapes(["a:1,2", "b:3"]) == {"a": (1, 2), "b": (3,)}
    assert parse_shapes(None) == shapes(None) == {}


def test_python_may_give_them_as_they_are() -> None:
    assert shapes({"a": [1, 2]}) == shapes(["a:1,2"]) == {"a": (1, 2)}


@pytest.mark.parametrize("text", ["image", "image:", ":1,3", "image:1,a", "image:0,1", "image:[1,3", "image:-1,3", ""])
def test_what_is_no_shape(text) -> None:
    with pytest.raises(UsageError, match="is not NAME:1,3,224,224"):
        parse_shapes([text])


def test_two_shapes_of_one_input() -> None:
    with pytest.raises(UsageError, match="--input-shape gives 'a' two shapes"):
        parse_shapes(["a:1,2", "a:1,3"])
