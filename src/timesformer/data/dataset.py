"""Videos of a manifest as samples, and samples as batches.

A video that cannot be read gives a sample with a problem instead of views; a batch skips those videos and carries their
problems along. `SkippedVideos` counts them and stops a run that would lose too many.

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

from timesformer.config import Augmentation, ClipShape, Preprocessing
from timesformer.data.manifest import Manifest
from timesformer.errors import DataError, VideoError
from timesformer.video.source import Source, open_video, portable
from timesformer.video.transforms import training_views
from timesformer.video.views import read_views


class Sample(NamedTuple):
    """One video.

    views_VCTSS: its views, uint8; None where it cannot be read. label: the number of its class; in multi-label data a
    zero or one for each class. row: its row in the manifest. problem: why it cannot be read; its `path` is the video's.
    """

    views_VCTSS: Tensor | None
    label: int | list[float]
    row: int
    problem: VideoError | None = None


class Batch(NamedTuple):
    """The readable videos of some samples.

    views_VCTSS: all views of all videos, uint8; counts_B: views of each video; labels_B and rows_B: its class and
    its row in the manifest; problems: why the others cannot be read. In multi-label data labels_B is (B, K) zeros and
    ones. A batch of unreadable videos alone has no views.
    """

    views_VCTSS: Tensor
    counts_B: Tensor
    labels_B: Tensor
    rows_B: Tensor
    problems: list[VideoError]


class TrainingClips(Dataset[Sample]):
    """Augmented clips of a video, asked for by (epoch, row, n): they and the seed decide all that is random.

    n: how often the row has come in this epoch before.
    """

    def __init__(
        self,
        manifest: Manifest,
        shape: ClipShape,
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.manifest, self.shape, self.preprocessing = manifest, shape, preprocessing
        self.augmentation, self.seed = augmentation, seed

    def __len__(self) -> int:
        return len(self.manifest.videos)

    def __getitem__(self, key: tuple[int, int, int]) -> Sample:
        epoch, row, times = key
        generator = random.Random(f"{self.seed} {epoch} {row} {times}")

        def read() -> Tensor:
            with open_video(self.manifest.videos[row].path) as video:
                return training_views(video, self.shape, self.preprocessing, self.augmentation, generator)

        return _sample(_label(self.manifest, row), row, read)


class TestingViews(Dataset[Sample]):
    """All test views of a video, asked for by its row."""

    __test__ = False  # not a test class for pytest

    def __init__(self, manifest: Manifest, shape: ClipShape, preprocessing: Preprocessing) -> None:
        self.manifest, self.shape, self.preprocessing = manifest, shape, preprocessing

    def __len__(self) -> int:
        return len(self.manifest.videos)

    def __getitem__(self, row: int) -> Sample:
        path = self.manifest.videos[row].path
        return _sample(_label(self.manifest, row), row, lambda: read_views(path, self.shape, self.preprocessing))


class UnlabelledViews(Dataset[Sample]):
    """All test views of videos without classes, asked for by row; the class of each sample is 0.

    sources: any that `open_video` takes; file objects and standard input are read into memory right away, since
    worker processes do not have them. fps: frame rate of arrays and lists, where known. Raises SettingError as
    `open_video` does.
    """

    def __init__(
        self, sources: Sequence[Source], shape: ClipShape, preprocessing: Preprocessing, fps: float | None = None
    ) -> None:
        self.sources = [portable(source, fps) for source in sources]
        self.shape, self.preprocessing = shape, preprocessing

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, row: int) -> Sample:
        return _sample(0, row, lambda: read_views(self.sources[row], self.shape, self.preprocessing))


def _label(manifest: Manifest, row: int) -> int | list[float]:
    video = manifest.videos[row]
    if manifest.multilabel:
        return [float(number in video.labels) for number in range(len(manifest.labels))]
    return video.label


def _sample(label: int | list[float], row: int, read: Callable[[], Tensor]) -> Sample:
    try:
        return Sample(read(), label, row)
    except VideoError as error:
        return Sample(None, label, row, VideoError(error.path, error.reason))  # without the frames of its traceback


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


class SkippedVideos:
    """The videos of a split that cannot be read: each is counted once, and too many of them stop the run.

    max_fraction: of the videos of the manifest, how many may be skipped; never all of them.
    Attributes: `reasons`, by the path of the video.
    """

    def __init__(self, manifest: Manifest, max_fraction: float) -> None:
        self.manifest, self.max_fraction = manifest, max_fraction
        self.reasons: dict[Path, str] = {}

    def add(self, problems: list[VideoError]) -> list[VideoError]:
        """Count problems; returns those of videos not counted before. Raises DataError where they are too many."""
        new = [problem for problem in problems if Path(problem.path) not in self.reasons]
        self.reasons.update((Path(problem.path), problem.reason) for problem in new)
        bad, total = len(self.reasons), len(self.manifest.videos)
        over = bad / total > self.max_fraction  # a product, 0.29 * 100, may fall below the number that is meant
        if new and (over or bad == total):
            limit = f", more than the fraction {self.max_fraction:g} that data.max_bad_fraction allows" if over else ""
            raise DataError(
                f"{self.manifest.source}: {bad} of {total} videos cannot be read{limit}; the last: {new[-1]}"
            )
        return new
