"""What a run ends with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from timesformer.data.dataset import SkippedVideos
from timesformer.errors import VideoError


@dataclass(frozen=True)
class FitResult:
    """A finished run.

    Attributes:
        model: folder of the classifier, which `timesformer.load_model` takes.
        epoch: the epoch that its weights are from, counted from 1.
        score: on `validation_split`, 0 to 1; None where there is no such split.
        metric: what the score is: "top-1", or "mAP" for data with several classes a video.
        validation_split: "val", or "test" where there is no `val`; None where there is neither. A probe without `val`
            has None, and its score is on the training videos that it held out.
        skipped: the videos that could not be read.
        first_process: False in all but one of the processes that share a run.
    """

    model: Path
    epoch: int
    score: float | None
    metric: str
    validation_split: str | None
    skipped: tuple[VideoError, ...] = ()
    first_process: bool = True


def problems_of(skipped: list[SkippedVideos]) -> tuple[VideoError, ...]:
    """The videos of all splits that could not be read."""
    return tuple(VideoError(path, reason) for split in skipped for path, reason in split.reasons.items())
