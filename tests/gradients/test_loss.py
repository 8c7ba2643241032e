import pytest

from tests.extras import needs

needs("torch", "onnx2torch")

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from spa_cli.errors import UsageError
from spa_cli.gradients.loss import Loss


def losses(outputs, labels, samples, **options) -> Any:
    """(losses per sample, how much of each counts, the terms)."""
    loss = Loss(**options)
    targets = loss.targets(outputs, labels, samples)
    return loss.per_sample(outputs, targets, samples), loss.counts(targets, samples), [t.term for t in targets]


def drawn(*shape) -> Any:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape))


def test_class_labels_are_compared_by_cross_entropy() -> None:
    y, labels = drawn(4, 3), np.array([0, 2, 1, 2])
    found, counts, _ = losses({"y": y}, labels, 4)
    torch.testing.assert_close(found, F.cross_entropy(y, torch.from_numpy(labels), reduction="none"))
    assert counts.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_probabilities_have_had_their_softmax(shape) -> None:
    y, labels = drawn(4, 3), np.array([0, 2, 1, 2])
    found, _, (term,) = losses({"y": torch.softmax(y, 1)}, labels.reshape(shape), 4)
    assert term.probabilities
    torch.testing.assert_close(found, F.cross_entropy(y, torch.from_numpy(labels), reduction="none"))


def test_labels_of_tokens_are_averaged_and_negative_ones_ignored() -> None:
    y, labels = drawn(2, 3, 5), np.array([[0, 4, -100], [-100, -100, -100]])
    found, counts, (term,) = losses({"y": y}, labels, 2)
    assert term.axis == 2
    torch.testing.assert_close(found[0], F.cross_entropy(y[0, :2], torch.tensor([0, 4])))
    assert counts.tolist() == [1, 0]


def test_a_map_has_its_classes_in_the_second_axis() -> None:
    y, labels = drawn(2, 5, 3, 4), np.random.default_rng(1).integers(0, 5, (2, 3, 4))
    found, _, (term,) = losses({"y": y}, labels, 2)
    assert term.axis == 1
    wanted = F.cross_entropy(y, torch.from_numpy(labels), reduction="none").reshape(2, -1).mean(1)
    torch.testing.assert_close(found, wanted)


def test_values_are_compared_by_their_squared_error() -> None:
    y, wanted = drawn(4, 3), np.random.default_rng(1).standard_normal((4, 3))
    found, _, _ = losses({"y": y}, wanted, 4)
    torch.testing.assert_close(found, (y - torch.from_numpy(wanted)).square().mean(1))


@pytest.mark.parametrize("through", [lambda y: y, torch.sigmoid])
def test_one_number_and_yes_or_no(through) -> None:
    y, labels = drawn(4, 1), np.array([0, 1, 1, 0])
    found, _, (term,) = losses({"y": through(y)}, labels, 4)
    wanted = F.binary_cross_entropy_with_logits(y[:, 0], torch.from_numpy(labels).double(), reduction="none")
    assert term.kind == "binary"
    torch.testing.assert_close(found, wanted)


def test_one_hot_labels_are_classes() -> None:
    y, labels = drawn(4, 3), np.array([0, 2, 1, 2])
    found, _, _ = losses({"y": y}, np.eye(3, dtype=np.int64)[labels], 4)
    torch.testing.assert_close(found, F.cross_entropy(y, torch.from_numpy(labels), reduction="none"))


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
    y = torch.log(torch.tensor([[0.7, 0.2, 0.1]]).double()).repeat(4000, 1)
    (target,) = Loss().targets({"y": y}, None, 4000)
    shares = torch.bincount(target.values, minlength=3) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.7, 0.2, 0.1]), atol=0.03, rtol=0)
    (target,) = Loss().targets({"y": torch.softmax(y, 1)}, None, 4000)
    assert target.term.probabilities
    assert abs(float((target.values == 0).double().mean()) - 0.7) < 0.03


def test_without_labels_what_scores_no_classes_counts_by_its_mean_square() -> None:
    outputs = {"logits": drawn(4, 5, 6), "last_hidden_state": drawn(4, 5, 6), "image": drawn(4, 3, 8, 8)}
    found, _, terms = losses(outputs, None, 4)
    assert [t.kind for t in terms] == ["classes", "norm", "norm"]
    alone, _, _ = losses(outputs, None, 4, output="image")
    torch.testing.assert_close(alone, outputs["image"].square().mean((1, 2, 3)) / 2)
    assert (found > alone).all()


def test_samples_in_the_second_axis_or_sharing_one() -> None:
    # time first, as recurrent networks have it; samples and frames in one axis
    y = drawn(5, 4, 3)
    labels = np.random.default_rng(1).integers(0, 3, (4, 5))
    found, _, _ = losses({"y": y}, labels, 4)
    wanted, _, _ = losses({"y": y.movedim(1, 0)}, labels, 4)
    torch.testing.assert_close(found, wanted)
    folded, _, _ = losses({"y": y.movedim(1, 0).reshape(20, 3)}, labels, 4)
    torch.testing.assert_close(folded, wanted)
