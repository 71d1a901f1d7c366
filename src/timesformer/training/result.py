"""What a run ends with, and RUN/result.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timesformer.data.dataset import SkippedVideos
from timesformer.errors import VideoError
from timesformer.evaluation.interval import Interval
from timesformer.evaluation.metrics import NAMES
from timesformer.files import as_json, replacing
from timesformer.training.floors import Floor

WIDE = 0.1  # of an interval that a person must be told about


@dataclass(frozen=True)
class FitResult:
    """A finished run.

    Attributes:
        model: folder of the classifier, which `timesformer.load_model` takes.
        epoch: the epoch that its weights are from, counted from 1; None for a probe.
        score: on `validation_split`, 0 to 1; None where there is no such split.
        metric: what the score is: "top-1", or "mAP" for data with several classes a video.
        validation_split: "val", which may be a part that was cut off the training split, or "test" where there is no
            `val`; None where there is neither.
        skipped: the videos that could not be read.
        first_process: False in all but one of the processes that share a run.
        metrics: all metrics of that epoch, by their names: top1, mean_class_accuracy and so on.
        videos: how many videos the score is of.
        floors: what the run is held against.
        groups: how many groups, of the column `data.group`, the videos of the score are in; None where that is not
            known.
        interval: 95%, of a top-1; None of a mAP, which is no fraction of videos, and where there is no score.
    """

    model: Path
    epoch: int | None
    score: float | None
    metric: str
    validation_split: str | None
    skipped: tuple[VideoError, ...] = ()
    first_process: bool = True
    metrics: Mapping[str, float] = field(default_factory=dict)
    videos: int = 0
    floors: tuple[Floor, ...] = ()
    groups: int | None = None
    interval: Interval | None = None

    def as_dict(self) -> dict[str, Any]:
        """In plain values, as RUN/result.json has them."""
        return {
            "model": str(self.model),
            "epoch": self.epoch,
            "split": self.validation_split,
            "videos": self.videos,
            "groups": self.groups,
            "metric": self.metric,
            "score": self.score,
            "interval": None if self.interval is None else [round(end, 6) for end in self.interval],
            "metrics": dict(self.metrics),
            "floors": {floor.name: dict(floor.metrics) for floor in self.floors},
            "skipped": [str(problem.path) for problem in self.skipped],
        }

    def summary(self) -> str:
        """The score with its interval, and what it is held against, in a line."""
        if self.score is None:
            return f"the classifier of epoch {self.epoch}"
        split = {"val": "validation", "test": "test split", None: ""}[self.validation_split]
        line = f"the classifier of epoch {self.epoch}, {split} {self.metric} {self.score:.3f}"
        if interval := self.interval:
            wide = f", {interval.width:.2f} wide" if interval.width > WIDE else ""
            of = f"of {self.videos} videos{self._groups()}"
            line += f" (95% interval {interval.low:.3f} to {interval.high:.3f}{wide}, {of})"
        return line + self._floors()

    def _groups(self) -> str:
        return f" in {self.groups} groups" if self.groups else ""

    def _floors(self) -> str:
        name = next(name for name, text in NAMES.items() if text == self.metric)
        floors = [f"{floor.what} {floor.metrics[name]:.3f}" for floor in self.floors]
        return f"; floors: {', '.join(floors)}" if floors else ""


@dataclass(frozen=True, kw_only=True)
class ProbeResult(FitResult):
    """A finished probe.

    Attributes:
        score: top-1 on `val`; where `validation_split` is None, an estimate by nested cross-validation over the
            training videos, the choice of the head included.
        head: the one that is kept, such as "linear, l2 0.1".
        tried: how many there were to choose from.
    """

    head: str
    tried: int

    def as_dict(self) -> dict[str, Any]:
        """In plain values, as RUN/result.json has them."""
        split = self.validation_split or "train, nested cross-validation"
        return super().as_dict() | {"split": split, "head": self.head, "tried": self.tried}

    def summary(self) -> str:
        """The head, its score and what that is, and what it is held against, in a line."""
        assert self.score is not None
        assert self.interval is not None
        score = f"{self.metric} {self.score:.3f} (95% interval {self.interval.low:.3f} to {self.interval.high:.3f})"
        if self.validation_split:
            of = f"{self.videos} videos{self._groups()} of {self.validation_split}"
            basis = f"on the {of}, which chose it among {self.tried}"
        else:
            basis = f"estimated by nested cross-validation over {self.videos} training videos{self._groups()}"
        return f"head {self.head}, {score} {basis}{self._floors()}"


def write_result(result: FitResult, folder: Path) -> None:
    """Write RUN/result.json, whole or not at all."""
    with replacing(folder / "result.json") as temporary:
        temporary.write_text(as_json(result.as_dict(), indent=2) + "\n", encoding="utf-8")


def problems_of(skipped: list[SkippedVideos]) -> tuple[VideoError, ...]:
    """The videos of all splits that could not be read."""
    return tuple(VideoError(path, reason) for split in skipped for path, reason in split.reasons.items())
