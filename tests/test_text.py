"""Numbers and names as people read them."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest

import spa_cli
from spa_cli.text import plural, said_once, shortened
from tests.builders import build
from tests.cli.running import spa

# "1 samples", "1 of 1 groups"; not the 0.1 of a figure, nor what follows a name that ends in 1
_ONE_OF_SEVERAL = re.compile(r"(?<![\w.,:-])1 (?:[a-z]+ )?(?!is\b|was\b|has\b|loss\b)[a-z]+s\b(?!')")


def test_one_and_several() -> None:
    assert [plural(n, "sample") for n in (0, 1, 2)] == ["0 samples", "1 sample", "2 samples"]
    assert [plural(n, "axis", "axes") for n in (1, 2)] == ["1 axis", "2 axes"]


def test_what_is_the_same_of_several_is_said_once() -> None:
    told = {"a": "zeros", "x": "noise", "b": "zeros", "c": "zeros"}
    assert said_once(told) == {"zeros": "a and 2 more", "noise": "x"}
    assert said_once({}) == {}


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["short", "a/very/long/name/indeed"], ["short", "a/very../indeed"]),
        # four weights that differ in the middle
        (
            [f"network/functional_1/depthwise_{n}/depthwise/kernel:0" for n in range(4)],
            [f"..{n}/de..ernel:0" for n in range(4)],
        ),
        (["a/long/layers.0/weight", "a/long/layers.1/weight"], ["..0/weight", "..1/weight"]),
        (["the/same/name/of/it", "the/same/name/of/it"], ["the/sa..e/of/it"] * 2),
    ],
)
def test_names_that_are_shortened_do_not_look_alike(names, shown) -> None:
    found = shortened(names, 15)
    assert found == shown
    assert max(map(len, found)) <= 15
    assert len(set(found)) == len(set(names))


def test_what_is_shown_of_one_is_no_plural(tmp_path) -> None:
    """A model of one group, of which one channel goes, from every verb."""
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    model, small, plan = tmp_path / "m.onnx", tmp_path / "s.onnx", tmp_path / "plan.json"
    text = "(float[N,5] x) => (y) { a = MatMul(x, wa)\n r = Relu(a)\n y = MatMul(r, wb) }"
    onnx.save(build(text, wa=(5, 8), wb=(8, 3)), model)
    one, asked = tmp_path / "one.npz", ("--ratio", 0.2, "--method", "l2")
    np.savez(one, x=np.ones((1, 5), np.float32))
    page = ("--html", tmp_path / "i.html"), ("--report", tmp_path / "p.html")
    for arguments in (
        ("inspect", model, *page[0]),
        ("prune", model, "-o", small, *asked, "--plan-out", plan, "--calib", one, *page[1]),
        ("prune", model, "-o", tmp_path / "many", *asked, "--max-drift", 9, "--no-isolate"),
        ("verify", model, small, "--calib", one),
        ("sweep", model, "-o", tmp_path / "sweep", "--points", "0.8", "--method", "l2", "--test", one),
        ("tune", small, "--teacher", model, "--calib", one, "-o", tmp_path / "t.onnx", "--epochs", 1),
    ):
        ran = spa(*arguments)
        assert ran.code == 0, ran.err
        assert not _ONE_OF_SEVERAL.findall(ran.out + ran.err), ran.out + ran.err
    for drawn in (tmp_path / "i.html", tmp_path / "p.html"):
        shown = re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]*>", " ", drawn.read_text("utf-8"), flags=re.S)
        assert not _ONE_OF_SEVERAL.findall(shown)
    found = spa_cli.inspect(model)
    assert not _ONE_OF_SEVERAL.search(repr(found)), repr(found)
