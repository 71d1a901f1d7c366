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
from timesformer.data.mirror import mirrored_videos
from timesformer.errors import DataError, VideoError
from timesformer.video.part import check_part, part_of
from timesformer.video.seen import Seen, seen_of
from timesformer.video.source import Source, open_video, portable, source_name
from timesformer.video.transforms import training_views
from timesformer.video.video import Video
from timesformer.video.views import read_views


class Sample(NamedTuple):
    """One video.

    views_VCTSS: its views, uint8; None where it cannot be read. label: the number of its class; in multi-label data a
    zero or one for each class. row: its row in the manifest. problem: why it cannot be read; its `path` is the video's.
    seen: how much of it the views show, of a video without a class.
    """

    views_VCTSS: Tensor | None
    label: int | list[float]
    row: int
    problem: VideoError | None = None
    seen: Seen | None = None


class Batch(NamedTuple):
    """The readable videos of some samples.

    views_VCTSS: all views of all videos, uint8; counts_B: views of each video; labels_B and rows_B: its class and
    its row in the manifest; problems: why the others cannot be read; seen: how much of each video the views show, for
    videos without classes. In multi-label data labels_B is (B, K) zeros and ones. A batch of unreadable videos alone
    has no views.
    """

    views_VCTSS: Tensor
    counts_B: Tensor
    labels_B: Tensor
    rows_B: Tensor
    problems: list[VideoError]
    seen: tuple[Seen, ...] = ()


class TrainingClips(Dataset[Sample]):
    """Augmented clips of a video, asked for by (epoch, row, n): they and the seed decide all that is random.

    n: how often the row has come in this epoch before. Where classes have counterparts in a mirror, all clips of a
    sample are mirrored or none, and mirrored ones are of the counterpart. Raises SettingError and DataError as
    `mirrored_videos`.
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
        self.mirrored = mirrored_videos(augmentation.flip, manifest)

    def __len__(self) -> int:
        return len(self.manifest.videos)

    def name(self, key: tuple[int, int, int]) -> Path:
        """What messages call a video."""
        return self.manifest.videos[key[1]].path

    def __getitem__(self, key: tuple[int, int, int]) -> Sample:
        epoch, row, times = key
        generator = random.Random(f"{self.seed} {epoch} {row} {times}")
        labels, counterparts = self.manifest.videos[row].labels, self.mirrored[row]
        mirrored = None
        if not isinstance(self.augmentation.flip, bool):
            mirrored = generator.random() < 0.5 and counterparts is not None
            labels = counterparts if mirrored and counterparts is not None else labels

        def read() -> Tensor:
            with self.manifest.videos[row].open() as video:
                return training_views(video, self.shape, self.preprocessing, self.augmentation, generator, mirrored)

        return _sample(_label(self.manifest, labels), row, read)


class TestingViews(Dataset[Sample]):
    """All test views of a video, asked for by its row."""

    __test__ = False  # not a test class for pytest

    def __init__(self, manifest: Manifest, shape: ClipShape, preprocessing: Preprocessing) -> None:
        self.manifest, self.shape, self.preprocessing = manifest, shape, preprocessing

    def __len__(self) -> int:
        return len(self.manifest.videos)

    def name(self, row: int) -> Path:
        """What messages call a video."""
        return self.manifest.videos[row].path

    def __getitem__(self, row: int) -> Sample:
        def read() -> Tensor:
            with self.manifest.videos[row].open() as video:
                return read_views(video, self.shape, self.preprocessing)

        return _sample(_label(self.manifest, self.manifest.videos[row].labels), row, read)


class UnlabelledViews(Dataset[Sample]):
    """All test views of videos without classes, asked for by row; the class of each sample is 0.

    sources: any that `open_video` takes; file objects, standard input and other descriptors are read into memory right
    away, since worker processes do not have them. fps: frame rate of arrays and lists, where known. start, end: the
    part of every video that is seen, see `part_of`. Raises SettingError as `open_video` and `check_part` do.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        shape: ClipShape,
        preprocessing: Preprocessing,
        fps: float | None = None,
        *,
        start: float | None = None,
        end: float | None = None,
    ) -> None:
        check_part(start, end)
        self.sources = [_portable(source, fps) for source in sources]
        self.shape, self.preprocessing, self.start, self.end = shape, preprocessing, start, end

    def __len__(self) -> int:
        return len(self.sources)

    def name(self, row: int) -> Path | str:
        """What messages call a video."""
        source = self.sources[row]
        return source.path if isinstance(source, VideoError) else source_name(source)

    def __getitem__(self, row: int) -> Sample:
        source = self.sources[row]
        if isinstance(source, VideoError):
            return Sample(None, 0, row, source)
        seen: list[Seen] = []

        def read() -> Tensor:
            with source if isinstance(source, Video) else open_video(source) as video:
                part = part_of(video, self.start, self.end)
                seen.append(seen_of(part, self.shape, self.preprocessing))
                return read_views(part, self.shape, self.preprocessing)

        sample = _sample(0, row, read)
        return sample if sample.problem else sample._replace(seen=seen[0])

    def unreadable(self, row: int, reason: str) -> Sample:
        """The sample of a video that cannot be read."""
        return Sample(None, 0, row, VideoError(self.name(row), reason))


def _portable(source: Source, fps: float | None) -> Source | Video | VideoError:
    """What `portable` gives, or why that cannot be read."""
    try:
        return portable(source, fps)
    except VideoError as error:
        return VideoError(error.path, error.reason)  # without the frames of its traceback


def _label(manifest: Manifest, labels: tuple[int, ...]) -> int | list[float]:
    """The label of a sample of these classes."""
    if manifest.multilabel:
        return [float(number in labels) for number in range(len(manifest.labels))]
    (label,) = labels
    return label


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
        seen=tuple(sample.seen for sample in good if sample.seen is not None),
    )


class SkippedVideos:
    """The videos of a split that cannot be read: each is counted once, and too many of them stop the run.

    max_fraction: of the videos of the manifest, how many may be skipped; never all of them. One that is listed twice is
        one video.
    part: videos of the same split that were cut off the manifest to validate on, and count with it; of them too,
        never all may be skipped.
    Attributes: `reasons`, by the path of the video.
    """

    def __init__(self, manifest: Manifest, max_fraction: float, part: Manifest | None = None) -> None:
        self.manifest, self.max_fraction = manifest, max_fraction
        self.paths = {video.path for video in manifest.videos}
        self.part_paths = {video.path for video in part.videos} if part else set()
        self.total = len(self.paths | self.part_paths)
        self.reasons: dict[Path, str] = {}

    def add(self, problems: list[VideoError]) -> list[VideoError]:
        """Count problems; returns those of videos not counted before. Raises DataError where they are too many."""
        found = {Path(problem.path): problem for problem in problems}
        new = [problem for path, problem in found.items() if path not in self.reasons]
        self.reasons.update((Path(problem.path), problem.reason) for problem in new)
        bad, total = len(self.reasons), self.total
        over = bad / total > self.max_fraction  # a product, 0.29 * 100, may fall below the number that is meant
        if new and (over or self.paths <= self.reasons.keys()):
            limit = f", more than the fraction {self.max_fraction:g} that data.max_bad_fraction allows" if over else ""
            raise DataError(
                f"{self.manifest.source}: {bad} of {total} videos cannot be read{limit}; the last: {new[-1]}"
            )
        if new and self.part_paths and self.part_paths <= self.reasons.keys():
            raise DataError(
                f"{self.manifest.source}: none of the {len(self.part_paths)} videos that were cut off to validate on "
                f"can be read; the last: {new[-1]}"
            )
        return new
