"""k nearest neighbours: nothing is learned; a clip is of the classes of the training clips that look most like it.

Weighted votes of cosine similarities, as DINO evaluates features (Caron et al., 2021).

Dimensions: N clips, D channels, K classes, Q clips that are asked for, J neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from timesformer.features.extract import Features

TEMPERATURE = 0.07
LEAST = 1e-4  # score of a class among whose clips no neighbour is


@dataclass(frozen=True)
class NearestNeighbours:
    """values: how many neighbours vote. Where there are fewer clips, all do."""

    classes: int
    values: tuple[float, ...]
    name: ClassVar[str] = "knn"
    setting: ClassVar[str] = "neighbours"

    def fit(self, training: Features) -> list[tuple[int, Features]]:
        """The number of neighbours, and the clips."""
        return [(min(int(value), len(training)), training) for value in self.values]

    def logits(self, fitted: tuple[int, Features], features: Features) -> Tensor:
        """Logarithms of the fraction of votes of each class: (Q, K)."""
        count, training = fitted
        centre_D = training.features.mean(0)
        known_ND, asked_QD = (F.normalize(part.features - centre_D, dim=1) for part in (training, features))
        similarity_QJ, nearest_QJ = (asked_QD @ known_ND.T).topk(count, 1)
        votes_QJ = (similarity_QJ / TEMPERATURE).softmax(1)
        votes_QK = torch.zeros(len(features), self.classes).scatter_add_(1, training.labels_N[nearest_QJ], votes_QJ)
        return votes_QK.clamp_min(LEAST).log()
