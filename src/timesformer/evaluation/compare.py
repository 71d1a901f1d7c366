"""Two classifiers on the same videos: by how much their scores differ, and whether chance would do that.

Dimensions: B videos, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from timesformer.data.layouts import some
from timesformer.errors import DataError
from timesformer.evaluation.bootstrap import Measure, intervals, measures
from timesformer.evaluation.interval import Interval
from timesformer.evaluation.score_files import Scores, read_scores


@dataclass(frozen=True)
class Difference:
    """A metric of both, and the 95% interval of second - first."""

    first: float
    second: float
    interval: Interval

    @property
    def value(self) -> float:
        return self.second - self.first


@dataclass(frozen=True)
class Comparison:
    """Two classifiers on the same videos.

    Attributes:
        videos: how many; groups: how many groups the intervals are over, None where each video counts for itself.
        differences: by metric.
        first_alone, second_alone: videos that one of the two classifies correctly, and the other does not.
        p_value: of McNemar's exact test, which takes videos for independent.

    Where a video may have several classes the last three are None.
    """

    videos: int
    groups: int | None
    differences: dict[str, Difference]
    first_alone: int | None = None
    second_alone: int | None = None
    p_value: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """In plain values."""
        differences = {
            name: {
                "first": round(found.first, 6),
                "second": round(found.second, 6),
                "difference": round(found.value, 6),
                "interval": [round(end, 6) for end in found.interval],
            }
            for name, found in self.differences.items()
        }
        row: dict[str, Any] = {"videos": self.videos, "groups": self.groups, "metrics": differences}
        if self.p_value is not None:
            row |= {"first_alone": self.first_alone, "second_alone": self.second_alone, "mcnemar_p": self.p_value}
        return row


def compare(first: str | Path | Scores, second: str | Path | Scores) -> Comparison:
    """Compare two Parquet files of scores, as `timesformer test --out` writes them, of the same videos.

    The intervals are those of the paired bootstrap: both metrics of the same resamples of the videos, or of their
    groups where the files have them (`test --group`).

    Raises DataError, in one line, for files that are no scores, or whose videos, classes, labels or groups differ.
    """
    one, other = (each if isinstance(each, Scores) else read_scores(each) for each in (first, second))
    rows = same_videos(one, other)
    scores_BK, labels_B = other.scores_BK[rows], other.labels_B[rows]
    if not torch.equal(labels_B, one.labels_B):
        row = next(row for row in range(len(rows)) if not torch.equal(labels_B[row], one.labels_B[row]))
        raise DataError(
            f"{other.path}: {one.videos[row]} has another label than in {one.path}; expected the same labels"
        )
    groups = _groups(one, other, rows)
    videos, pairs = len(rows), dict[str, tuple[Measure, Measure]]()
    of_other = measures(scores_BK, labels_B)
    for name, measure in measures(one.scores_BK, labels_B).items():
        if name != "calibration_error":  # all resamples of it are too high
            pairs[name] = (measure, of_other[name])
    found = intervals({name: _difference(*pair) for name, pair in pairs.items()}, videos, groups, lowest=-1)
    one_B = torch.ones(1, videos, dtype=torch.float64)
    differences = {
        name: Difference(float(pairs[name][0](one_B)), float(pairs[name][1](one_B)), interval)
        for name, interval in found.items()
    }
    differences = {name: each for name, each in differences.items() if not math.isnan(each.value)}
    counts = None if groups is None else len(set(groups))
    if labels_B.ndim == 2:
        return Comparison(videos, counts, differences)
    first_B, second_B = one.scores_BK.argmax(1) == labels_B, scores_BK.argmax(1) == labels_B
    alone = int((first_B & ~second_B).sum()), int((~first_B & second_B).sum())
    return Comparison(videos, counts, differences, *alone, mcnemar(*alone))


def mcnemar(first_alone: int, second_alone: int) -> float:
    """The two-sided p-value of McNemar's exact test: how probable it is that of so many videos, which one of two
    classifiers has right and the other has wrong, each having it with probability 1/2, so few or fewer are the rarer
    one's, on either side (McNemar, 1947). 1 where there is none."""
    total, rarer = first_alone + second_alone, min(first_alone, second_alone)
    tail = sum(math.comb(total, count) for count in range(rarer + 1))
    return min(1.0, float(Fraction(2 * tail, 2**total)))


def _difference(first: Measure, second: Measure) -> Measure:
    return lambda weights_RB: second(weights_RB) - first(weights_RB)


def same_videos(one: Scores, other: Scores) -> list[int]:
    """The rows of the other file in the order of the first. Raises DataError for other videos or classes."""
    if one.labels != other.labels:
        raise DataError(
            f"{other.path}: classes {some(other.labels)}, but {one.path} has {some(one.labels)}; expected the same "
            "classes in the same order"
        )
    place: dict[str, list[int]] = {}
    for row, video in enumerate(other.videos):
        place.setdefault(video, []).append(row)
    rows = [place[video].pop(0) for video in one.videos if place.get(video)]
    if len(rows) != len(one.videos) or len(rows) != len(other.videos):
        missing = next((video for video in one.videos if video not in place), None)
        which = f"{missing} is in {one.path} alone" if missing else f"{len(other.videos)} and {len(one.videos)} rows"
        raise DataError(f"{other.path}: other videos than in {one.path} ({which}); expected the same videos")
    return rows


def _groups(one: Scores, other: Scores, rows: list[int]) -> tuple[str, ...] | None:
    """The groups of either file."""
    others = None if other.groups is None else tuple(other.groups[row] for row in rows)
    if one.groups is not None and others is not None and one.groups != others:
        raise DataError(f"{other.path}: other groups than in {one.path}; expected the same, or in one file alone")
    return one.groups or others
