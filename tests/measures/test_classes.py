"""Classes and tokens: what is said, how sure of it, and what stands where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.measures.classes import LOGARITHMS, LOGITS, PROBABILITIES, Classes, log_probabilities
from spa_cli.measures.tokens import Tokens


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def scores(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape) * 2


def test_forms_say_the_same() -> None:
    x, y = scores(0, 20, 7), scores(1, 20, 7)
    found = []
    for form, of in ((LOGITS, lambda v: v), (PROBABILITIES, softmax), (LOGARITHMS, lambda v: np.log(softmax(v)))):
        measure = Classes(-1, form)
        measure.add([of(x)], [of(y)], 20)
        found.append(measure.found)
    p, q = softmax(x), softmax(y)
    assert [f.figures["kl"].value for f in found] == pytest.approx([float((p * np.log(p / q)).sum(1).mean())] * 3)
    assert {f.agreement.value for f in found} == {float((x.argmax(1) == y.argmax(1)).mean())}


def test_runs_add_up() -> None:
    x, y = scores(0, 30, 4), scores(1, 30, 4)
    whole, parts = Classes(-1, LOGITS), Classes(-1, LOGITS)
    whole.add([x], [y], 30)
    for part in (slice(0, 7), slice(7, 30)):
        parts.add([x[part]], [y[part]], len(x[part]))
    a, b = whole.found.figures["kl"], parts.found.figures["kl"]
    assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))


def test_classes_on_any_axis() -> None:
    x, y = scores(0, 6, 5, 4, 3), scores(1, 6, 5, 4, 3)
    measure = Classes(-3, LOGITS)
    measure.add([x], [y], 6)
    assert measure.found.agreement.value == pytest.approx((x.argmax(1) == y.argmax(1)).mean())


def test_background_is_no_agreement() -> None:
    """A network that says nothing anywhere agrees on nine frames of ten; on what is said it agrees on none."""
    said = np.where(np.arange(200) % 10 == 0, 1 + np.arange(200) % 4, 0).reshape(10, 20)
    x = 8 * np.eye(6)[said]
    blank = 8 * np.eye(6)[np.zeros_like(said)]
    measure = Classes(-1, LOGITS)
    measure.add([x], [blank], 10)
    found = measure.found
    assert found.figures["kappa"].value < 0.1
    assert found.agreement.value == 0
    assert found.ruined
    assert "where there is more than class 0" in found.text
    same = Classes(-1, LOGITS)
    same.add([x], [x.copy()], 10)
    assert (same.found.agreement.value, same.found.ruined) == (1, False)


def test_of_nothing_but_background_nothing_is_said() -> None:
    x = np.zeros((4, 9, 3))
    x[..., 1] = 5
    measure = Classes(-1, LOGITS)
    measure.add([x], [x], 4)
    assert measure.found.agreement is None
    assert "nothing but background" in measure.found.text


def test_a_class_of_each_sample_has_no_background() -> None:
    x = np.zeros((50, 3))
    x[:, 0] = 5
    measure = Classes(-1, LOGITS)
    measure.add([x], [x], 50)
    assert measure.found.agreement.value == 1


def test_ties_that_fall_otherwise_ruin_nothing() -> None:
    x = 1e-3 * scores(0, 100, 5)
    measure = Classes(-1, LOGITS)
    measure.add([x], [1e-3 * scores(1, 100, 5)], 100)
    assert measure.found.figures["kappa"].value < 0.3
    assert not measure.found.ruined


def test_what_is_no_number_agrees_with_nothing() -> None:
    x, spoilt = scores(0, 40, 5), np.full((40, 5), np.nan)
    measure = Classes(-1, LOGITS)
    measure.add([x], [spoilt], 40)
    assert measure.found.agreement.value == 0
    assert measure.found.ruined
    assert np.isfinite(measure.found.figures["kl"].value)


def test_impossible_classes_cost_no_more_than_the_least_probability() -> None:
    logs = log_probabilities(np.array([[1.0, 0.0]]), PROBABILITIES)
    assert np.isfinite(logs).all() and logs[0, 0] == pytest.approx(0, abs=1e-6)


def test_perplexity_of_tokens() -> None:
    """exp(KL): a uniform guess among 8 tokens where the original is sure is 8 times as perplexed."""
    sure = 50 * np.eye(8)[np.random.default_rng(0).integers(0, 8, (6, 10))]
    measure = Tokens(LOGITS)
    measure.add([sure], [np.zeros((6, 10, 8))], 6)
    found = measure.found
    assert found.figures["perplexity_ratio"].value == pytest.approx(8, rel=1e-3)
    assert found.ruined and found.text.startswith("perplexity 8 [")
    near = Tokens(LOGITS)
    near.add([sure], [sure * 0.5], 6)
    assert not near.found.ruined
    assert near.found.figures["perplexity_ratio"].value == pytest.approx(1, abs=1e-3)


def test_what_is_no_number_in_the_original_is_not_compared() -> None:
    x = scores(0, 10, 5)
    y = x.copy()
    x[:4] = np.nan
    measure = Classes(-1, LOGITS)
    measure.add([x], [y], 10)
    assert (measure.found.agreement.value, measure.found.figures["kl"].value) == (1, 0)
    y[4:] = np.nan
    spoilt = Classes(-1, LOGITS)
    spoilt.add([x], [y], 10)
    assert spoilt.found.agreement.value == 0 and spoilt.found.ruined
    nothing = Classes(-1, LOGITS)
    nothing.add([x[:4]], [y[:4]], 4)
    found = nothing.found
    assert (found.agreement, found.text) == (None, "the original gives no number on these samples")
    assert not found.ruined


@pytest.mark.parametrize("sure, ruined", [(8, True), (0.5, False)])
def test_few_samples_leave_no_doubt_where_classes_and_their_scores_are_others(sure, ruined) -> None:
    """Agreement of 45 % of 64: its interval ends above halfway between chance and perfect."""
    said = np.arange(64) % 10
    says = np.where(np.arange(64) < 29, said, (said + 1) % 10)
    measure = Classes(-1, LOGITS)
    measure.add([sure * np.eye(10)[said]], [sure * np.eye(10)[says]], 64)
    found = measure.found
    assert found.agreement.high > 0.55 > 0.5 > found.figures["kappa"].value
    assert found.ruined == ruined
