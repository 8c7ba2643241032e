"""A change is made of samples that the original bears; what only lies elsewhere is no change."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.analysis import analyse_model
from spa_cli.runtime.load import load
from spa_cli.runtime.session import open_session, run
from spa_cli.tuning.augment import FLIP, MIX, WAYS
from spa_cli.tuning.familiar import borne
from spa_cli.tuning.match import Match
from spa_cli.tuning.terms import terms_of
from tests.builders import build

BLIND = "(float[N,3,6,6] x) => (y) { a = Conv(x, w)  r = Relu(a)  p = GlobalAveragePool(r)  y = Flatten(p) }"
PLACES = "(float[N,3,6,6] x) => (y) { a = Conv(x, w)  y = Relu(a) }"
READER = "(float[N,3,6,6] x) => (y) { f = Flatten(x)  y = MatMul(f, w) }"
RNG = np.random.default_rng(0)
# every image has a bright edge somewhere on its left half
IMAGES = (RNG.normal(size=(24, 3, 6, 6)) * (np.arange(6) < 2)).astype(np.float32)


def _borne(text, weight, count=24, batch=8) -> tuple[str, ...]:
    source = load(build(text, w=weight))
    feeds = {"x": IMAGES[:batch]}
    analysis = analyse_model(source, {"x": (batch, 3, 6, 6)})
    match = Match(analysis, analysis, terms_of(analysis, analysis, run(open_session(source), feeds)), ["w"], feeds)
    return borne(WAYS, match, [{"x": IMAGES[at : at + batch]} for at in range(0, count, batch)], 0)


@pytest.mark.parametrize("text", [BLIND, PLACES])
def test_a_flip_is_borne_by_what_does_not_look_where_things_are(text) -> None:
    assert FLIP in _borne(text, (4, 3, 1, 1))


def test_neither_crop_nor_flip_by_what_reads_every_place() -> None:
    assert _borne(READER, RNG.normal(size=(108, 5)).astype(np.float32)) == (MIX,)


def test_of_too_few_samples_nothing_can_be_told() -> None:
    assert _borne(BLIND, (4, 3, 1, 1), count=2, batch=2) == (MIX,)
