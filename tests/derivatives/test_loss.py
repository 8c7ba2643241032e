"""What an output is compared with, and the loss and slopes that gives."""

from typing import Any

import numpy as np
import pytest

from spa_cli.derivatives.compared import sigmoid
from spa_cli.derivatives.loss import Loss
from spa_cli.errors import UsageError
from tests.derivatives.small import cross_entropy, log_softmax, slopes


def losses(outputs, labels, samples, **options) -> Any:
    """(losses per sample, how much of each counts, the terms)."""
    loss = Loss(**options)
    targets = loss.targets(outputs, labels, samples)
    return loss.per_sample(outputs, targets, samples), loss.counts(targets, samples), [t.term for t in targets]


def drawn(*shape) -> Any:
    return np.random.default_rng(0).standard_normal(shape)


def test_class_labels_are_compared_by_cross_entropy() -> None:
    y, labels = drawn(4, 3), np.array([0, 2, 1, 2])
    found, counts, _ = losses({"y": y}, labels, 4)
    np.testing.assert_allclose(found, cross_entropy(y, labels))
    assert counts.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_probabilities_have_had_their_softmax(shape) -> None:
    y, labels = drawn(4, 3), np.array([0, 2, 1, 2])
    found, _, (term,) = losses({"y": np.exp(log_softmax(y))}, labels.reshape(shape), 4)
    assert term.probabilities
    np.testing.assert_allclose(found, cross_entropy(y, labels))


def test_labels_of_tokens_are_averaged_and_negative_ones_ignored() -> None:
    y, labels = drawn(2, 3, 5), np.array([[0, 4, -100], [-100, -100, -100]])
    found, counts, (term,) = losses({"y": y}, labels, 2)
    assert term.axis == 2
    np.testing.assert_allclose(found[0], cross_entropy(y[0, :2], [0, 4]).mean())
    assert counts.tolist() == [1, 0]


def test_a_map_has_its_classes_in_the_second_axis() -> None:
    y, labels = drawn(2, 5, 3, 4), np.random.default_rng(1).integers(0, 5, (2, 3, 4))
    found, _, (term,) = losses({"y": y}, labels, 2)
    assert term.axis == 1
    wanted = cross_entropy(np.moveaxis(y, 1, -1).reshape(-1, 5), labels.ravel()).reshape(2, -1).mean(1)
    np.testing.assert_allclose(found, wanted)


def test_values_are_compared_by_their_squared_error() -> None:
    y, wanted = drawn(4, 3), np.random.default_rng(1).standard_normal((4, 3))
    found, _, _ = losses({"y": y}, wanted, 4)
    np.testing.assert_allclose(found, np.square(y - wanted).mean(1))


@pytest.mark.parametrize("through", [lambda y: y, sigmoid])
def test_one_number_and_yes_or_no(through) -> None:
    y, labels = drawn(4, 1), np.array([0, 1, 1, 0])
    found, _, (term,) = losses({"y": through(y)}, labels, 4)
    wanted = np.log1p(np.exp(np.where(labels, -y[:, 0], y[:, 0])))
    assert term.kind == "binary"
    np.testing.assert_allclose(found, wanted)


def test_one_hot_labels_are_classes() -> None:
    y, labels = drawn(4, 3), np.array([0, 2, 1, 2])
    found, _, _ = losses({"y": y}, np.eye(3, dtype=np.int64)[labels], 4)
    np.testing.assert_allclose(found, cross_entropy(y, labels))


def test_samples_of_other_classes_weigh_nothing() -> None:
    _, counts, _ = losses({"y": drawn(4, 3)}, np.array([0, 2, 1, 2]), 4, classes=(2, 0))
    assert counts.tolist() == [1, 1, 0, 1]


def test_the_first_output_that_fits_or_the_named_one() -> None:
    outputs = {"boxes": drawn(4, 7, 4), "a": drawn(4, 3), "b": drawn(4, 3)}
    assert losses(outputs, np.array([0, 2, 1, 2]), 4)[2][0].output == "a"
    assert losses(outputs, np.array([0, 2, 1, 2]), 4, output="b")[2][0].output == "b"
    with pytest.raises(UsageError, match="names 'c', which is no output; name one of boxes, a, b"):
        losses(outputs, None, 4, output="c")


def test_labels_that_fit_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match=r"labels of shape \[4, 9\] fit no output \('y' \[4, 3\]\)"):
        losses({"y": drawn(4, 3)}, np.zeros((4, 9), np.int64), 4)
    with pytest.raises(UsageError, match="labels go up to 3, output 'y' has 3 classes"):
        losses({"y": drawn(4, 3)}, np.array([0, 1, 2, 3]), 4)


def test_without_labels_scores_draw_them_from_their_own_softmax() -> None:
    y = np.log([[0.7, 0.2, 0.1]]).repeat(4000, 0)
    (target,) = Loss().targets({"y": y}, None, 4000)
    shares = np.bincount(target.values, minlength=3) / 4000
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1], atol=0.03, rtol=0)
    (target,) = Loss().targets({"y": np.exp(log_softmax(y))}, None, 4000)
    assert target.term.probabilities
    assert abs((target.values == 0).mean() - 0.7) < 0.03


def test_without_labels_what_scores_no_classes_counts_by_its_mean_square() -> None:
    outputs = {"logits": drawn(4, 5, 6), "last_hidden_state": drawn(4, 5, 6), "image": drawn(4, 3, 8, 8)}
    found, _, terms = losses(outputs, None, 4)
    assert [t.kind for t in terms] == ["classes", "norm", "norm"]
    alone, _, _ = losses(outputs, None, 4, output="image")
    np.testing.assert_allclose(alone, np.square(outputs["image"]).mean((1, 2, 3)) / 2)
    assert (found > alone).all()


def test_samples_in_the_second_axis_or_sharing_one() -> None:
    # time first, as recurrent networks have it; samples and frames in one axis
    y = drawn(5, 4, 3)
    labels = np.random.default_rng(1).integers(0, 3, (4, 5))
    found, _, _ = losses({"y": y}, labels, 4)
    wanted, _, _ = losses({"y": np.moveaxis(y, 1, 0)}, labels, 4)
    np.testing.assert_allclose(found, wanted)
    folded, _, _ = losses({"y": np.moveaxis(y, 1, 0).reshape(20, 3)}, labels, 4)
    np.testing.assert_allclose(folded, wanted)


SLOPES = {
    "classes": ({"y": drawn(3, 4)}, np.array([0, 3, 1])),
    "maps": ({"y": drawn(3, 4, 2)}, np.array([[0, 3], [1, -1], [-1, -1]])),
    "time first": ({"y": drawn(2, 3, 4)}, np.array([[0, 3], [1, 1], [2, 0]])),
    "folded": ({"y": drawn(6, 4)}, np.array([[0, 3], [1, 1], [2, 0]])),
    "values": ({"z": drawn(3, 7), "y": drawn(3, 4)}, drawn(3, 4) + 0.3),
    "binary": ({"y": sigmoid(drawn(3, 1))}, np.array([0, 1, 1])),
    "drawn": ({"last_hidden_state": drawn(3, 2, 4), "logits": drawn(3, 4), "shared": drawn(2, 4)}, None),
}


@pytest.mark.parametrize("name", SLOPES)
def test_slopes_and_bends_are_those_of_finite_differences(name) -> None:
    outputs, labels = SLOPES[name]
    loss, shares = Loss(), np.array([1.0, 0.0, 2.0])
    targets = loss.targets(outputs, labels, 3)

    def total(moved) -> float:
        return float(loss.per_sample(moved, targets, 3) @ shares)

    found, wanted = loss.slopes(outputs, targets, shares), slopes(total, outputs)
    along = {n: np.random.default_rng(5).standard_normal(y.shape) for n, y in outputs.items()}
    bent = loss.bends(outputs, targets, shares, along)
    sides = [
        loss.slopes({n: y + sign * 1e-6 * along[n] for n, y in outputs.items()}, targets, shares) for sign in (1, -1)
    ]
    for output in outputs:
        np.testing.assert_allclose(found[output], wanted[output], rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(bent[output], (sides[0][output] - sides[1][output]) / 2e-6, rtol=1e-5, atol=1e-7)
