"""Videos whose label may be wrong: the classifier is sure of another class.

Dimensions: B videos, K classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from timesformer.evaluation.evaluate import EvaluationResult

SURE = 0.5  # a classifier that gives no class more than that flags no video


class Suspect(NamedTuple):
    """A video whose label may be wrong. score: of the class that it may really be of; of_label: of its label."""

    path: Path
    label: str
    predicted: str
    score: float
    of_label: float


def suspects(result: EvaluationResult) -> tuple[Suspect, ...]:
    """Videos that count for another class than their label's by confident learning (Northcutt et al., Confident
    Learning, 2021, equation 1), the largest difference of both scores first.

    A video counts for the class with the best score among those whose threshold it reaches: the mean score of that
    class over the videos that are labelled with it. So a class that the classifier hardly knows flags no video, and
    one that it knows well only those that it is as sure of as of that class's own. Beside that its score must be above
    SURE, since thresholds of a weak classifier are low.

    The classifier must not have been trained on these videos. Nothing where a video may have several classes.
    """
    scores_BK, labels_B = result.scores_BK.double(), result.labels_B
    if labels_B.ndim == 2:
        return ()
    classes = scores_BK.shape[1]
    own_B = scores_BK.gather(1, labels_B[:, None])[:, 0]
    videos_K = torch.bincount(labels_B, minlength=classes)
    # Of a class without a video there is no threshold, and it flags none.
    threshold_K = torch.zeros(classes, dtype=torch.float64).index_add_(0, labels_B, own_B) / videos_K
    reached_BK = (scores_BK >= threshold_K).logical_and(videos_K > 0)
    best = torch.where(reached_BK, scores_BK, -1.0).max(1)
    rows = ((best.values > SURE) & (best.indices != labels_B)).nonzero()[:, 0].tolist()
    rows.sort(key=lambda row: float(own_B[row] - best.values[row]))
    return tuple(
        Suspect(
            result.paths[row],
            result.labels[int(labels_B[row])],
            result.labels[int(best.indices[row])],
            float(best.values[row]),
            float(own_B[row]),
        )
        for row in rows
    )
