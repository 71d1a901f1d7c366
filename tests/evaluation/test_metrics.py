"""Metrics against counts by hand, over classes that occur and classes that do not."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from timesformer.evaluation.metrics import measure


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 6, 20])
def test_metrics_are_counts(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    for videos in (1, 2, 17, 60):
        scores = torch.rand(videos, classes, generator=generator).softmax(1)
        labels = torch.randint(0, max(classes - 1, 1), (videos,), generator=generator)  # the last never occurs
        hits: dict[int, list[bool]] = {}
        within_five = 0
        for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
            better = sum(score > row[label] for score in row)
            hits.setdefault(label, []).append(better == 0)
            within_five += better < 5
        flat = [hit for of_class in hits.values() for hit in of_class]
        metrics = measure(scores, labels)
        assert metrics.top1 == pytest.approx(sum(flat) / videos, abs=1e-6)
        assert metrics.top5 == (pytest.approx(within_five / videos, abs=1e-6) if classes > 5 else None)
        fractions = [sum(of_class) / len(of_class) for of_class in hits.values()]
        assert metrics.mean_class_accuracy == pytest.approx(sum(fractions) / len(fractions), abs=1e-6)


def test_a_frequent_class_counts_once() -> None:
    scores = torch.tensor([[0.9, 0.1]] * 10)
    metrics = measure(scores, torch.tensor([0] * 9 + [1]))
    assert (metrics.top1, metrics.top5, metrics.mean_class_accuracy) == (0.9, None, 0.5)


def test_metrics_by_hand() -> None:
    scores = torch.tensor(
        [
            [0.7, 0.1, 0.1, 0.05, 0.03, 0.02],  # class 0: right
            [0.1, 0.5, 0.2, 0.1, 0.06, 0.04],  # class 0: second to last of five
            [0.3, 0.25, 0.2, 0.15, 0.09, 0.01],  # class 5: last of six
            [0.1, 0.6, 0.1, 0.1, 0.05, 0.05],  # class 1: right
        ]
    )
    metrics = measure(scores, torch.tensor([0, 0, 5, 1]))
    assert metrics.top1 == 0.5
    assert metrics.top5 == 0.75
    assert metrics.mean_class_accuracy == pytest.approx((0.5 + 0 + 1) / 3, abs=1e-6)  # classes 2 to 4 do not occur


@pytest.mark.parametrize("levels", [2, 10, 1000])
def test_auc_is_sklearns(levels: int) -> None:
    """With many equal scores, some, and none."""
    generator = torch.Generator().manual_seed(levels)
    labels = torch.randint(0, 2, (300,), generator=generator)
    second = (torch.randint(0, levels, (300,), generator=generator) + levels * 0.3 * labels) / (1.3 * levels)
    metrics = measure(torch.stack([1 - second, second], dim=1), labels)
    assert metrics.auc == pytest.approx(roc_auc_score(labels.numpy(), second.numpy()), abs=1e-5)
    assert metrics.mean_class_accuracy == pytest.approx(
        balanced_accuracy_score(labels.numpy(), (second > 0.5).numpy()), abs=1e-6
    )


def test_equal_scores_have_an_auc_of_one_half() -> None:
    metrics = measure(torch.tensor([[0.8, 0.2]] * 10), torch.tensor([0] * 7 + [1] * 3))
    assert metrics == (0.7, None, 0.5, 0.5)


def test_auc_is_of_two_classes_that_occur() -> None:
    assert measure(torch.tensor([[0.8, 0.2]] * 3), torch.tensor([0, 0, 0])).auc is None
    assert measure(torch.eye(3), torch.tensor([0, 1, 2])).auc is None


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_five_classes_or_fewer_have_no_top5(classes: int) -> None:
    """It would be 1 whatever the scores."""
    metrics = measure(torch.eye(classes)[[1, 1]] * 0.5 + 0.1, torch.tensor([0, 1]))
    assert (metrics.top1, metrics.top5) == (0.5, None)
