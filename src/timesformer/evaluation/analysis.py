"""What people ask next of an evaluation: intervals, classes, confusions, mistakes, calibration, parts of the data.

Dimensions: B videos, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timesformer.errors import SettingError
from timesformer.evaluation.bootstrap import BINS, average_precision, bin_of, in_top, intervals, measures
from timesformer.evaluation.evaluate import EvaluationResult
from timesformer.evaluation.interval import Interval, grouped_interval
from timesformer.evaluation.metrics import measure_multilabel

TRUE_ABOVE = 0.5  # a score above which a video counts as predicted to have one of several classes


class ClassScore(NamedTuple):
    """One class. videos: that have it; predicted: videos that are classified as it. precision: the fraction of
    `predicted` that is right, recall: the fraction of `videos` that is found; None of no videos. average_precision:
    only where a video may have several classes."""

    label: str
    videos: int
    predicted: int
    precision: float | None
    recall: float | None
    average_precision: float | None = None


class Confusion(NamedTuple):
    """How many videos of one class are classified as another."""

    label: str
    predicted: str
    videos: int


class Mistake(NamedTuple):
    """A video that is classified wrongly, with the score of that class."""

    path: Path
    label: str
    predicted: str
    score: float


class Bin(NamedTuple):
    """Videos whose best score is between low and high: its mean, and the fraction that is right; None of no videos."""

    low: float
    high: float
    videos: int
    score: float | None
    right: float | None


class Part(NamedTuple):
    """The videos with one value in a column of the list. score: their top-1, or mean average precision where a video
    may have several classes, without an interval."""

    value: str
    videos: int
    score: float
    interval: Interval | None


@dataclass(frozen=True)
class Analysis:
    """An evaluation in detail.

    Attributes:
        result: what was evaluated.
        metrics: by name, those of the result, a top-k for each number that was asked for and "calibration_error".
        intervals: 95%, of each of the metrics but the calibration error, whose resamples are all too high.
        groups: how many groups the intervals are over; None where each video counts for itself.
        classes: all of them, in the order of the labels.
        majority: the most frequent class of these videos, and the fraction that it is.
        confusion_KK: how many videos of each class (rows) are classified as each (columns).
        confusions: pairs of classes, the most confused first.
        mistakes: the most confident first.
        bins: of the best score.
        column, parts: a column of the list, and the videos by its values, the lowest score first.

    Where a video may have several classes there are no majority, confusions, mistakes and bins.
    """

    result: EvaluationResult = field(repr=False)
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    groups: int | None
    classes: tuple[ClassScore, ...] = field(repr=False)
    majority: tuple[str, float] | None = None
    confusion_KK: Tensor | None = field(default=None, repr=False)
    confusions: tuple[Confusion, ...] = field(default=(), repr=False)
    mistakes: tuple[Mistake, ...] = field(default=(), repr=False)
    bins: tuple[Bin, ...] = field(default=(), repr=False)
    column: str | None = None
    parts: tuple[Part, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """In plain values: what `EvaluationResult.summary` has, with more metrics, "intervals", "groups", "majority"
        (label and fraction) and "by" (the column, and videos, score and interval of each of its values)."""
        row: dict[str, Any] = {**self.metrics, **self.result.summary(), "groups": self.groups}
        row["intervals"] = {name: _rounded(interval) for name, interval in self.intervals.items()}
        if self.majority:
            row["majority"] = {"label": self.majority[0], "fraction": round(self.majority[1], 6)}
        if self.column is not None:
            values = {
                part.value: {
                    "videos": part.videos,
                    "score": round(part.score, 6),
                    "interval": part.interval and _rounded(part.interval),
                }
                for part in self.parts
            }
            row["by"] = {"column": self.column, "values": values}
        return row


def analyse(
    result: EvaluationResult,
    *,
    top_k: Sequence[int] = (),
    groups: Sequence[Hashable] | None = None,
    by: tuple[str, Sequence[str]] | None = None,
) -> Analysis:
    """An evaluation in detail.

    top_k: numbers k for a top-k each; of as many classes as there are, it is 1.
    groups: of each video of the result; intervals are then over groups.
    by: the name of a column, and its value for each video.

    An interval is that of the bootstrap, of videos or of groups; that of a fraction of videos is no narrower than
    `grouped_interval`, since a bootstrap is too narrow for few groups, and for fractions near 0 or 1.

    Raises SettingError for a number k below 1, and where a video may have several classes for any.
    """
    scores_BK, labels_B = result.scores_BK, result.labels_B
    check_top_k(top_k, multilabel=labels_B.ndim == 2)
    if labels_B.ndim == 2:
        details: dict[str, Any] = {"classes": _several_classes(result)}
    else:
        confusion_KK = confusion(scores_BK, labels_B)
        best_B, right_B = scores_BK.amax(1), scores_BK.argmax(1) == labels_B
        details = {
            "majority": _majority(confusion_KK, result.labels),
            "classes": _classes(confusion_KK, result.labels),
            "confusion_KK": confusion_KK,
            "confusions": _confusions(confusion_KK, result.labels),
            "mistakes": _mistakes(result),
            "bins": bins(best_B, right_B),
        }
    values, found = _with_intervals(result, top_k, groups)
    return Analysis(
        result,
        values,
        found,
        None if groups is None else len(set(groups)),
        column=by[0] if by else None,
        parts=_parts(result, by[1], groups) if by else (),
        **details,
    )


def check_top_k(top_k: Sequence[int], *, multilabel: bool) -> None:
    """Raises SettingError for a number below 1, and where a video may have several classes for any."""
    if top_k and multilabel:
        raise SettingError("top-k: there is none where a video may have several classes")
    if any(number < 1 for number in top_k):
        raise SettingError(f"top-k: {min(top_k)}; expected numbers of at least 1")


def confusion(scores_BK: Tensor, labels_B: Tensor) -> Tensor:
    """How many videos of each class are classified as each: (K, K), a row a class."""
    classes = scores_BK.shape[1]
    cell_B = labels_B * classes + scores_BK.argmax(1)
    return torch.bincount(cell_B, minlength=classes**2).reshape(classes, classes)


def bins(best_B: Tensor, right_B: Tensor) -> tuple[Bin, ...]:
    """The bins of the calibration error: of the scores of the best classes, and whether they are right."""
    number_B, found = bin_of(best_B), []
    for number in range(BINS):
        inside_B = number_B == number
        videos, low, high = int(inside_B.sum()), number / BINS, (number + 1) / BINS
        score = float(best_B[inside_B].double().mean()) if videos else None
        found.append(Bin(low, high, videos, score, float(right_B[inside_B].double().mean()) if videos else None))
    return tuple(found)


def _with_intervals(
    result: EvaluationResult, top_k: Sequence[int], groups: Sequence[Hashable] | None
) -> tuple[dict[str, float], dict[str, Interval]]:
    """All metrics that are defined for these videos, and their intervals."""
    videos, known = len(result.labels_B), result.metrics.known()
    named = measures(result.scores_BK, result.labels_B, top_k)
    one_B = torch.ones(1, videos, dtype=torch.float64)
    values = {name: known.get(name, round(float(measure(one_B)), 6)) for name, measure in named.items()}
    values = {name: value for name, value in values.items() if not math.isnan(value)}  # AUC of one class alone
    asked = {name: named[name] for name in values if name != "calibration_error"}
    found = intervals(asked, videos, groups)
    for name in (name for name in values if name.startswith("top")):
        right_B = in_top(result.scores_BK, result.labels_B, int(name.removeprefix("top")))
        other = grouped_interval(right_B, groups or range(videos))
        found[name] = Interval(min(found[name].low, other.low), max(found[name].high, other.high))
    return values, found


def _majority(confusion_KK: Tensor, labels: tuple[str, ...]) -> tuple[str, float]:
    videos_K = confusion_KK.sum(1)
    label = int(videos_K.argmax())
    return labels[label], int(videos_K[label]) / int(videos_K.sum())


def _classes(confusion_KK: Tensor, labels: tuple[str, ...]) -> tuple[ClassScore, ...]:
    counts = zip(
        labels, confusion_KK.sum(1).tolist(), confusion_KK.sum(0).tolist(), confusion_KK.diag().tolist(), strict=True
    )
    return tuple(_class_score(*of_class) for of_class in counts)


def _class_score(label: str, videos: int, predicted: int, right: int, average: float | None = None) -> ClassScore:
    precision = right / predicted if predicted else None
    return ClassScore(label, videos, predicted, precision, right / videos if videos else None, average)


def _several_classes(result: EvaluationResult) -> tuple[ClassScore, ...]:
    labels_BK, said_BK = result.labels_B > 0, result.scores_BK > TRUE_ABOVE
    one_B, found = torch.ones(1, len(labels_BK), dtype=torch.float64), []
    for number, label in enumerate(result.labels):
        has_B, said_B = labels_BK[:, number], said_BK[:, number]
        videos = int(has_B.sum())
        average = float(average_precision(result.scores_BK[:, number], has_B)(one_B)) if videos else None
        found.append(_class_score(label, videos, int(said_B.sum()), int((has_B & said_B).sum()), average))
    return tuple(found)


def _confusions(confusion_KK: Tensor, labels: tuple[str, ...]) -> tuple[Confusion, ...]:
    wrong_KK = confusion_KK - confusion_KK.diag().diag()
    pairs = [
        Confusion(labels[row], labels[column], int(wrong_KK[row, column]))
        for row, column in wrong_KK.nonzero().tolist()
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.videos))


def _mistakes(result: EvaluationResult) -> tuple[Mistake, ...]:
    best = result.scores_BK.max(1)
    rows = (best.indices != result.labels_B).nonzero()[:, 0].tolist()
    rows.sort(key=lambda row: -float(best.values[row]))
    return tuple(
        Mistake(
            result.paths[row],
            result.labels[int(result.labels_B[row])],
            result.labels[int(best.indices[row])],
            float(best.values[row]),
        )
        for row in rows
    )


def _parts(result: EvaluationResult, values: Sequence[str], groups: Sequence[Hashable] | None) -> tuple[Part, ...]:
    rows_of: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        rows_of.setdefault(value, []).append(row)
    found = []
    for value, rows in rows_of.items():
        scores_BK, labels_B = result.scores_BK[rows], result.labels_B[rows]
        if labels_B.ndim == 2:
            found.append(Part(value, len(rows), measure_multilabel(scores_BK, labels_B).mean_average_precision, None))
        else:
            right_B = scores_BK.argmax(1) == labels_B
            interval = grouped_interval(right_B, [groups[row] for row in rows] if groups else rows)
            found.append(Part(value, len(rows), float(right_B.double().mean()), interval))
    return tuple(sorted(found, key=lambda part: part.score))


def _rounded(interval: Interval) -> list[float]:
    return [round(end, 6) for end in interval]
