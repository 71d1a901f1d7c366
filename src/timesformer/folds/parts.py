"""The results of a run of folds or seeds, and RUN/parts.json, which holds them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timesformer.data.folds import Folds
from timesformer.errors import SettingError, one_line
from timesformer.evaluation.interval import Interval, mean_interval
from timesformer.files import as_json, replacing
from timesformer.training.resume import PARTS


@dataclass(frozen=True)
class PartResult:
    """One run among several.

    name: its folder in RUN; fold: its number, from 1, None where there are only seeds; groups: those that were tested;
    epoch: the one that its weights are from, None of a probe; metrics: as `EvaluationResult.summary` has them.
    """

    name: str
    seed: int
    fold: int | None
    groups: tuple[str, ...]
    epoch: int | None
    metrics: dict[str, Any]


@dataclass(frozen=True)
class FoldsResult:
    """A run of folds, of seeds, or of folds with each of several seeds; all of it is in RUN/parts.json.

    Attributes:
        model: folder of the ensemble of all its classifiers, which `timesformer.load` takes.
        folds: their number, or "groups"; None where there are only seeds.
        group: the column whose groups stay whole.
        seeds: those of the runs.
        split: what all seeds were tested on, "test" or "val"; None of folds.
        videos: which videos there are and in which fold each is, as their number and a digest.
        count: how many runs there are of each seed.
        parts: the runs that have ended.
    """

    model: Path
    folds: Folds | None
    group: str | None
    seeds: tuple[int, ...]
    split: str | None
    videos: str
    count: int
    parts: tuple[PartResult, ...] = ()

    @property
    def metric(self) -> str:
        """What `scores` are: "top1", or "mean_average_precision" of data with several classes a video."""
        return next(name for name in ("top1", "mean_average_precision") if name in self.parts[0].metrics)

    @property
    def scores(self) -> tuple[float, ...]:
        """Of each fold, the mean over the seeds; where there are only seeds, of each seed."""
        return self.means(self.metric)

    @property
    def seed_scores(self) -> tuple[float, ...]:
        """Of each seed, the mean over its folds."""
        return self._means(self.metric, lambda part: part.seed)

    @property
    def mean(self) -> float:
        """Of the scores."""
        return statistics.fmean(self.scores)

    @property
    def standard_deviation(self) -> float:
        """Of the scores, as a sample of more."""
        return statistics.stdev(self.scores)

    @property
    def tested(self) -> int:
        """The number of videos that were tested, each counted once."""
        return sum(int(part.metrics["videos"]) for part in self.parts if part.seed == self.seeds[0])

    @property
    def interval(self) -> Interval:
        """95%, of the mean, see `timesformer.evaluation.interval.mean_interval`."""
        return mean_interval(self.scores, self.tested if self.metric == "top1" else None)

    def means(self, metric: str) -> tuple[float, ...]:
        """Another metric, as `scores` has its own."""
        return self._means(metric, lambda part: part.seed if self.folds is None else part.fold)

    def _means(self, metric: str, key: Callable[[PartResult], int | None]) -> tuple[float, ...]:
        found: dict[int | None, list[float]] = {}
        for part in self.parts:
            found.setdefault(key(part), []).append(float(part.metrics[metric]))
        return tuple(map(statistics.fmean, found.values()))

    def as_dict(self) -> dict[str, Any]:
        """In plain values, as RUN/parts.json has them; with a summary when all parts have ended."""
        row: dict[str, Any] = {name: getattr(self, name) for name in ("folds", "group", "split", "videos", "count")}
        row["seeds"] = list(self.seeds)
        row["parts"] = [
            {"name": part.name, "seed": part.seed, "fold": part.fold, "groups": list(part.groups), "epoch": part.epoch}
            | {"metrics": part.metrics}
            for part in self.parts
        ]
        if len(self.parts) == self.count * len(self.seeds):
            row["summary"] = {
                "metric": self.metric,
                "mean": self.mean,
                "standard_deviation": self.standard_deviation,
                "interval": list(self.interval),
                "seeds": dict(zip(map(str, self.seeds), self.seed_scores, strict=True)),
                "videos": self.tested,
            }
        return row


def write_parts(out: Path, result: FoldsResult) -> None:
    """Write RUN/parts.json, whole."""
    with replacing(out / PARTS) as temporary:
        temporary.write_text(as_json(result.as_dict(), indent=2) + "\n", encoding="utf-8")


def read_parts(out: Path) -> FoldsResult:
    """What RUN/parts.json holds. Raises SettingError for a file that is missing or damaged."""
    file = out / PARTS
    if not file.exists():
        raise SettingError(f"{out}: nothing to resume; there is no run of folds or seeds in this folder")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        values.pop("summary", None)
        parts = tuple(PartResult(**part | {"groups": tuple(part["groups"])}) for part in values.pop("parts"))
        seeds = tuple(values.pop("seeds"))
        return FoldsResult(out / "model", seeds=seeds, parts=parts, **values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SettingError(f"{out}: cannot resume, {PARTS} is damaged: {one_line(error)[:200]}") from None
