"""Top-1, top-5 and mean class accuracy of scores; mean average precision where a video may have several classes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision, multiclass_accuracy


class Metrics(NamedTuple):
    """Fractions between 0 and 1, to six decimal places. top5 counts the best 5 classes, or all if there are fewer."""

    top1: float
    top5: float
    mean_class_accuracy: float


class MultilabelMetrics(NamedTuple):
    """mean_average_precision: the mean over the classes that occur of the average precision, to six decimal places."""

    mean_average_precision: float


def measure_multilabel(scores_BK: Tensor, labels_BK: Tensor) -> MultilabelMetrics:
    """Metrics of scores against rows of zeros and ones; 0 where no class occurs."""
    occurs = labels_BK.sum(0) > 0
    if not occurs.any():
        return MultilabelMetrics(0.0)
    scores, labels = scores_BK[:, occurs], labels_BK[:, occurs].long()
    values = [binary_average_precision(scores[:, number], labels[:, number]) for number in range(scores.shape[1])]
    return MultilabelMetrics(round(float(torch.stack(values).mean()), 6))


def measure(scores_BK: Tensor, labels_B: Tensor) -> Metrics:
    """Metrics of scores against true classes; mean_class_accuracy is over the classes that occur."""
    classes = scores_BK.shape[1]

    def accuracy(top: int) -> Tensor:
        return multiclass_accuracy(scores_BK, labels_B, classes, top_k=min(top, classes), average="micro")

    of_class = multiclass_accuracy(scores_BK, labels_B, classes, average="none")
    occurs = torch.bincount(labels_B, minlength=classes) > 0
    values = (accuracy(1), accuracy(5), of_class[occurs].mean())
    return Metrics(*(round(float(value), 6) for value in values))
