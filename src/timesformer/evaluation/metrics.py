"""Top-k, mean class accuracy and AUC; mean average precision where a video may have several classes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_average_precision, multiclass_accuracy

# What metrics are called, by their keys in result files; in metrics.csv mean average precision is "map".
NAMES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_class_accuracy": "mean class accuracy",
    "auc": "AUC",
    "map": "mAP",
    "mean_average_precision": "mAP",
    "calibration_error": "calibration error",
}


def metric_name(key: str) -> str:
    """What a metric is called, a top-k of any k too."""
    return NAMES.get(key) or key.replace("top", "top-")


class Metrics(NamedTuple):
    """Fractions between 0 and 1, to six decimal places.

    top5: None of five classes or fewer, where the right one would always be among them.
    mean_class_accuracy: also called balanced accuracy.
    auc: area under the ROC curve of two classes; None of more, and where only one of the two occurs.
    """

    top1: float
    top5: float | None
    mean_class_accuracy: float
    auc: float | None = None

    def known(self) -> dict[str, float]:
        """By name, without those that are None."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class MultilabelMetrics(NamedTuple):
    """mean_average_precision: the mean over the classes that occur of the average precision, to six decimal places."""

    mean_average_precision: float

    def known(self) -> dict[str, float]:
        """By name."""
        return self._asdict()


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

    def accuracy(top: int) -> float:
        return round(float(multiclass_accuracy(scores_BK, labels_B, classes, top_k=top, average="micro")), 6)

    of_class = multiclass_accuracy(scores_BK, labels_B, classes, average="none")
    occurs = torch.bincount(labels_B, minlength=classes) > 0
    both = classes == 2 and bool(occurs.all())
    return Metrics(
        top1=accuracy(1),
        top5=accuracy(5) if classes > 5 else None,
        mean_class_accuracy=round(float(of_class[occurs].mean()), 6),
        auc=round(float(binary_auroc(scores_BK[:, 1], labels_B)), 6) if both else None,
    )
