"""Metrics against counts by hand, over classes that occur and classes that do not."""

from __future__ import annotations

import pytest
import torch

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
        assert metrics.top5 == pytest.approx(within_five / videos, abs=1e-6)
        fractions = [sum(of_class) / len(of_class) for of_class in hits.values()]
        assert metrics.mean_class_accuracy == pytest.approx(sum(fractions) / len(fractions), abs=1e-6)


def test_a_frequent_class_counts_once() -> None:
    scores = torch.tensor([[0.9, 0.1]] * 10)
    metrics = measure(scores, torch.tensor([0] * 9 + [1]))
    assert (metrics.top1, metrics.top5, metrics.mean_class_accuracy) == (0.9, 1.0, 0.5)


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


def test_top5_of_three_classes_is_everything() -> None:
    metrics = measure(torch.eye(3)[[1, 2]] * 0.5 + 0.1, torch.tensor([0, 2]))
    assert (metrics.top1, metrics.top5) == (0.5, 1.0)
