"""Top-1, top-5 and mean class accuracy of scores."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy


class Metrics(NamedTuple):
    """Shares between 0 and 1, to six places. top5 counts the best 5 classes, or all where there are fewer."""

    top1: float
    top5: float
    mean_class_accuracy: float


def measure(scores_BK: Tensor, labels_B: Tensor) -> Metrics:
    """Metrics of scores against true classes; mean_class_accuracy is over the classes that occur."""
    classes = scores_BK.shape[1]

    def accuracy(top: int) -> Tensor:
        return multiclass_accuracy(scores_BK, labels_B, classes, top_k=min(top, classes), average="micro")

    of_class = multiclass_accuracy(scores_BK, labels_B, classes, average="none")
    occurs = torch.bincount(labels_B, minlength=classes) > 0
    values = (accuracy(1), accuracy(5), of_class[occurs].mean())
    return Metrics(*(round(float(value), 6) for value in values))
