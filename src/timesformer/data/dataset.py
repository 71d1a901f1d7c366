"""Videos of a manifest as samples, and samples as batches.

A video that cannot be read gives a sample with a problem instead of views; a batch carries the problems along and
leaves those videos out. `LeftOut` counts them and stops a run that would lose too many.

Dimensions: V views of all videos of a batch, C 3 colours, T frames, S side of a crop in pixels.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from timesformer.config import Architecture, Augmentation, Preprocessing
from timesformer.data.manifest import Manifest
from timesformer.errors import DataError, VideoError
from timesformer.video.source import Video, open_video
from timesformer.video.transforms import training_views
from timesformer.video.views import testing_views


class Problem(NamedTuple):
    """A video that cannot be read, and why."""

    path: Path
    reason: str


class Sample(NamedTuple):
    """One video: its views (V, 3, T, S, S) uint8 or its problem, its class, its row in the manifest.

    label: the number of its class; in multi-label data a zero or one for each class.
    """

    views_VCTSS: Tensor | None
    label: int | list[float]
    row: int
    problem: Problem | None = None


class Batch(NamedTuple):
    """The readable videos of some samples.

    views_VCTSS: all views of all videos, uint8; counts_B: views of each video; labels_B and rows_B: its class and
    its row in the manifest; problems: the videos left out. In multi-label data labels_B is (B, K) zeros and ones. A
    batch of unreadable videos alone has no views.
    """

    views_VCTSS: Tensor
    counts_B: Tensor
    labels_B: Tensor
    rows_B: Tensor
    problems: list[Problem]


class TrainingClips(Dataset[Sample]):
    """Augmented clips of a video, asked for by (epoch, row, n): they and the seed decide all that is random.

    n: how often the row has come in this epoch before.
    """

    def __init__(
        self,
        manifest: Manifest,
        model: Architecture,
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.manifest, self.model, self.preprocessing = manifest, model, preprocessing
        self.augmentation, self.seed = augmentation, seed

    def __len__(self) -> int:
        return len(self.manifest.videos)

    def __getitem__(self, key: tuple[int, int, int]) -> Sample:
        epoch, row, times = key
        generator = random.Random(f"{self.seed} {epoch} {row} {times}")

        def view(video: Video) -> Tensor:
            return training_views(video, self.model, self.preprocessing, self.augmentation, generator)

        return _sample(self.manifest, row, view)


class TestingViews(Dataset[Sample]):
    """All test views of a video, asked for by its row."""

    __test__ = False  # not a test class for pytest

    def __init__(self, manifest: Manifest, model: Architecture, preprocessing: Preprocessing) -> None:
        self.manifest, self.model, self.preprocessing = manifest, model, preprocessing

    def __len__(self) -> int:
        return len(self.manifest.videos)

    def __getitem__(self, row: int) -> Sample:
        return _sample(self.manifest, row, lambda video: testing_views(video, self.model, self.preprocessing))


class UnlabelledViews(Dataset[Sample]):
    """All test views of videos without classes, asked for by row; the class of each sample is 0."""

    def __init__(self, paths: Sequence[Path], model: Architecture, preprocessing: Preprocessing) -> None:
        self.paths, self.model, self.preprocessing = paths, model, preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Sample:
        return _read(self.paths[row], 0, row, lambda video: testing_views(video, self.model, self.preprocessing))


def _sample(manifest: Manifest, row: int, view: Callable[[Video], Tensor]) -> Sample:
    found = manifest.videos[row]
    label: int | list[float]
    if manifest.multilabel:
        label = [float(number in found.labels) for number in range(len(manifest.labels))]
    else:
        label = found.label
    return _read(found.path, label, row, view)


def _read(path: Path, label: int | list[float], row: int, view: Callable[[Video], Tensor]) -> Sample:
    try:
        with open_video(path) as video:
            return Sample(view(video), label, row)
    except VideoError as error:
        return Sample(None, label, row, Problem(path, str(error)))


def collate(samples: list[Sample]) -> Batch:
    """Samples of any number of views as one batch."""
    good = [sample for sample in samples if sample.views_VCTSS is not None]
    views = [sample.views_VCTSS for sample in good if sample.views_VCTSS is not None]
    return Batch(
        views_VCTSS=torch.cat(views) if views else torch.empty(0, 3, 1, 1, 1, dtype=torch.uint8),
        counts_B=torch.tensor([len(view) for view in views], dtype=torch.long),
        labels_B=torch.tensor([sample.label for sample in good]) if good else torch.empty(0, dtype=torch.long),
        rows_B=torch.tensor([sample.row for sample in good], dtype=torch.long),
        problems=[sample.problem for sample in samples if sample.problem is not None],
    )


class LeftOut:
    """The videos of a split that could not be read: each is counted once, and too many of them stop the run."""

    def __init__(self, manifest: Manifest, max_share: float) -> None:
        self.manifest, self.max_share = manifest, max_share
        self.reasons: dict[Path, str] = {}

    def add(self, problems: list[Problem]) -> list[Problem]:
        """Count problems; returns those of videos not counted before. Raises DataError over the allowed share."""
        new = [problem for problem in problems if problem.path not in self.reasons]
        self.reasons.update(new)
        bad, total = len(self.reasons), len(self.manifest.videos)
        over = bad / total > self.max_share  # a product, 0.29 * 100, may fall below the number that is meant
        if new and (over or bad == total):
            limit = f", more than the share of {self.max_share:g} that data.max_bad_share allows" if over else ""
            raise DataError(
                f"{self.manifest.source}: {bad} of {total} videos cannot be read{limit}; the last: {new[-1].reason}"
            )
        return new
