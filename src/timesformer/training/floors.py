"""What a run is held against: scores that cost next to nothing, on the videos that the run is validated on.

Dimensions: B videos, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from timesformer.data.manifest import Manifest
from timesformer.evaluation.metrics import NAMES, measure, measure_multilabel
from timesformer.training.balance import class_counts


@dataclass(frozen=True)
class Floor:
    """A score that a run should be above.

    Attributes:
        name: "majority" or "probe".
        what: the same in words.
        split: whose videos it is measured on.
        metrics: fractions by the names that validation metrics have: top1, top5 (of more than five classes),
            mean_class_accuracy and auc (of two classes); map where a video may have several classes.
    """

    name: str
    what: str
    split: str
    metrics: Mapping[str, float]

    @property
    def scores(self) -> str:
        """The metrics in words."""
        return ", ".join(f"{NAMES[name]} {value:.3f}" for name, value in self.metrics.items())

    @property
    def line(self) -> str:
        """A line of a run's log."""
        return f"floor   {self.what} on {self.split}: {self.scores}"


def find_floors(training: Manifest, validation: Manifest | None) -> tuple[Floor, ...]:
    """What a run on these videos is held against; nothing where none are validated."""
    return (majority_floor(training, validation),) if validation else ()


def facts_of(floors: Iterable[Floor]) -> dict[str, str]:
    """What a model card says of them."""
    return {f"floor: {floor.what}": f"{floor.scores} on {floor.split}" for floor in floors}


def majority_floor(training: Manifest, validation: Manifest) -> Floor:
    """The score of the same answer for all videos: the training split's classes by their frequency.

    Its best class is the most frequent one (of equal ones, the first). Where a video may have several classes, the
    mean average precision of equal scores is the mean frequency of the classes that occur in `validation`.
    """
    counts_K = class_counts(training).tolist()
    order = sorted(range(len(counts_K)), key=lambda label: (-counts_K[label], label))
    scores_K = torch.zeros(len(counts_K))
    scores_K[order] = torch.linspace(1, 0, len(counts_K))
    scores_BK = scores_K.expand(len(validation.videos), -1)
    if training.multilabel:
        labels_BK = torch.zeros_like(scores_BK)
        for row, video in enumerate(validation.videos):
            labels_BK[row, list(video.labels)] = 1
        found = {"map": measure_multilabel(scores_BK, labels_BK).mean_average_precision}
        return Floor("majority", "equal scores for all videos", validation.split, found)
    labels_B = torch.tensor([video.label for video in validation.videos])
    found = measure(scores_BK, labels_B).known()
    return Floor("majority", f"most frequent class ({training.labels[order[0]]})", validation.split, found)
