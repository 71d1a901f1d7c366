"""What the metrics of an epoch are computed from: sums over training clips, scores of validation videos.

Dimensions: B clips or videos, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from timesformer.evaluation.metrics import measure, measure_multilabel


class TrainingSums:
    """Sums over the training clips of an epoch so far. They stay on the device until they are read."""

    def __init__(self, values: Sequence[float] = (0.0, 0.0, 0.0, 0.0)) -> None:
        """`values`: what `values()` gave when an epoch was interrupted."""
        self._loss_and_right = torch.tensor(values[:2], dtype=torch.float64)
        self.clips, self.batches = int(values[2]), int(values[3])

    def add(self, loss_B: Tensor, right_B: Tensor) -> None:
        """Add the loss of each clip of a batch, and whether its best class is the right one."""
        device = loss_B.device
        dtype = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        batch = torch.stack([loss_B.detach().sum().to(dtype), right_B.sum().to(dtype)])
        self._loss_and_right = self._loss_and_right.to(device, dtype) + batch
        self.clips += len(loss_B)

    def values(self) -> list[float]:
        """Loss, right answers, clips and batches."""
        return [*self._loss_and_right.tolist(), float(self.clips), float(self.batches)]


class ValidationScores:
    """Scores of the videos that this process has validated.

    Attributes, of all processes and the last validation:
        videos: how many could be read.
        right_B, rows_B: whether each is right, and its row; empty where a video may have several classes.
        predicted: the classes that were the best of any video; empty where a video may have several.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []
        self.videos = 0
        self.right_B, self.rows_B = torch.empty(0, dtype=torch.bool), torch.empty(0, dtype=torch.long)
        self.predicted: tuple[int, ...] = ()

    def add(self, scores_BK: Tensor, labels_B: Tensor, rows_B: Tensor) -> None:
        """Add scores, labels and rows of the manifest of some videos."""
        self._parts.append((scores_BK, labels_B.cpu(), rows_B.cpu()))

    def measure(self, gather: Callable[[Any], list[Any]], split: str, *, multilabel: bool) -> dict[str, float]:
        """The validation metrics, named after the split, such as val_top1; the scores are dropped then.

        `gather`: gives the values of all processes for this one's.
        """
        scores_BK, labels_B, rows_B = self._of_all_processes(gather)
        self.videos = len(labels_B)
        if multilabel:
            loss = F.binary_cross_entropy(scores_BK, labels_B)
            found = {"map": measure_multilabel(scores_BK, labels_B).mean_average_precision}
        else:
            loss = F.nll_loss(scores_BK.clamp_min(1e-12).log(), labels_B)
            found = measure(scores_BK, labels_B).known()
            self.right_B, self.rows_B = scores_BK.argmax(1).cpu() == labels_B.cpu(), rows_B
            self.predicted = tuple(scores_BK.argmax(1).unique().tolist())
        return {f"{split}_{name}": value for name, value in ({"loss": float(loss)} | found).items()}

    def _of_all_processes(self, gather: Callable[[Any], list[Any]]) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and rows of all processes, each video once, in the order of the rows."""
        own, self._parts = self._parts, []
        parts = [part for parts in gather(own) for part in parts]
        scores_BK, labels_B, rows_B = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        index_of = {row: index for index, row in enumerate(rows_B.tolist())}
        indices = [index_of[row] for row in sorted(index_of)]
        return scores_BK[indices], labels_B[indices], rows_B[indices]
