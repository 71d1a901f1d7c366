"""95% intervals of any metric by the bootstrap: the metric of many resamples of the videos, or of groups of them.

A resample is how often each video is in it, so that a metric of all resamples is a few products of matrices. `measures`
gives the metrics of scores as functions of such weights; with weights of one they are those of `metrics.measure`.

Dimensions: R resamples, B videos, G groups, K classes, U different scores, N bins.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from timesformer.evaluation.interval import LEVEL, Interval

RESAMPLES = 2000
AT_ONCE = 4_000_000  # weights in memory
BINS = 15  # of scores, for the calibration error (Guo et al., 2017)

# The weights of videos (R, B), float64, to a metric of each resample (R,); NaN where it is not defined.
Measure = Callable[[Tensor], Tensor]


def measures(scores_BK: Tensor, labels_B: Tensor, top_k: Sequence[int] = ()) -> dict[str, Measure]:
    """The metrics of scores by the names that `Metrics.known` has, with a top-k for each of `top_k`, and
    "calibration_error"; of labels (B, K) of zeros and ones the mean average precision alone.

    top5 is there where more than five classes are, auc of two classes.
    """
    if labels_B.ndim == 2:
        return {"mean_average_precision": mean_average_precision(scores_BK, labels_B)}
    classes, right_B = scores_BK.shape[1], scores_BK.argmax(1) == labels_B
    numbers = sorted({1, *([5] * (classes > 5)), *top_k})
    found = {f"top{number}": fraction(in_top(scores_BK, labels_B, number)) for number in numbers}
    found["mean_class_accuracy"] = class_mean(right_B, labels_B, classes)
    if classes == 2:
        found["auc"] = area_under_roc(scores_BK[:, 1], labels_B)
    found["calibration_error"] = calibration_error(scores_BK.amax(1), right_B)
    return found


def intervals(
    named: Mapping[str, Measure], videos: int, groups: Sequence[Hashable] | None = None, *, lowest: float = 0.0
) -> dict[str, Interval]:
    """The 95% interval of each metric: what lies between the quantiles of its values in RESAMPLES resamples.

    groups: of each video; whole groups are drawn then, since only they are independent. Resamples in which a metric is
    not defined, such as an AUC of one class alone, do not count; where none is, the interval is `lowest` to 1. So it is
    of a single group or video: all its resamples are the same, which says nothing of other ones.

    lowest: that a metric can be; -1 of differences.
    """
    whole = Interval(lowest, 1.0)
    if len(set(groups if groups else range(videos))) < 2:
        return dict.fromkeys(named, whole)
    values: dict[str, list[Tensor]] = {name: [] for name in named}
    for weights_RB in resamples(videos, groups):
        for name, measure in named.items():
            values[name].append(measure(weights_RB))
    return {name: _middle(torch.cat(parts), whole) for name, parts in values.items()}


def resamples(videos: int, groups: Sequence[Hashable] | None = None) -> Iterator[Tensor]:
    """How often each video is in each of RESAMPLES resamples, (R, B) at a time; the same ones in every call."""
    number = {group: number for number, group in enumerate(dict.fromkeys(groups if groups else range(videos)))}
    group_B = torch.tensor([number[group] for group in groups] if groups else range(videos), dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    at_once = max(1, AT_ONCE // max(videos, 1))
    for start in range(0, RESAMPLES, at_once):
        rows = min(at_once, RESAMPLES - start)
        drawn_RG = torch.randint(len(number), (rows, len(number)), generator=generator)
        counts_RG = torch.zeros(rows, len(number), dtype=torch.float64)
        yield counts_RG.scatter_add_(1, drawn_RG, torch.ones_like(counts_RG))[:, group_B]


def _middle(values_R: Tensor, whole: Interval) -> Interval:
    known = values_R[~values_R.isnan()]
    if not len(known):
        return whole
    tail = (1 - LEVEL) / 2
    low, high = known.quantile(torch.tensor([tail, 1 - tail], dtype=known.dtype)).tolist()
    return Interval(low, high)


def in_top(scores_BK: Tensor, labels_B: Tensor, number: int) -> Tensor:
    """Of each video, whether its class is among the `number` best; all are where there are no more classes."""
    best = scores_BK.topk(min(number, scores_BK.shape[1]), 1).indices
    found: Tensor = (best == labels_B[:, None]).any(1)
    return found


def fraction(right_B: Tensor) -> Measure:
    """The fraction of videos that are right."""
    right = right_B.double()
    return lambda weights_RB: weights_RB @ right / weights_RB.sum(1)


def class_mean(right_B: Tensor, labels_B: Tensor, classes: int) -> Measure:
    """The mean, over the classes that occur, of the fraction of their videos that are right."""
    right = right_B.double()

    def measure(weights_RB: Tensor) -> Tensor:
        zero_RK = torch.zeros(len(weights_RB), classes, dtype=torch.float64)
        videos_RK = zero_RK.index_add(1, labels_B, weights_RB)
        right_RK = zero_RK.index_add(1, labels_B, weights_RB * right)
        return (right_RK / videos_RK).nanmean(1)

    return measure


def area_under_roc(scores_B: Tensor, labels_B: Tensor) -> Measure:
    """The probability that a video of class 1 has a higher score than one of class 0, ties for a half."""
    different_U, place_B = scores_B.unique(return_inverse=True)  # in ascending order

    def measure(weights_RB: Tensor) -> Tensor:
        zero_RU = torch.zeros(len(weights_RB), len(different_U), dtype=torch.float64)
        positive_RU = zero_RU.index_add(1, place_B, weights_RB * (labels_B == 1))
        negative_RU = zero_RU.index_add(1, place_B, weights_RB * (labels_B == 0))
        below_RU = negative_RU.cumsum(1) - negative_RU / 2
        return (positive_RU * below_RU).sum(1) / (positive_RU.sum(1) * negative_RU.sum(1))

    return measure


def mean_average_precision(scores_BK: Tensor, labels_BK: Tensor) -> Measure:
    """The mean, over the classes that occur, of the average precision."""
    of_class = [average_precision(scores_BK[:, label], labels_BK[:, label]) for label in range(scores_BK.shape[1])]
    return lambda weights_RB: torch.stack([measure(weights_RB) for measure in of_class]).nanmean(0)


def average_precision(scores_B: Tensor, labels_B: Tensor) -> Measure:
    """The sum over thresholds of the precision there times the recall that is gained, without interpolation."""
    different_U, place_B = (-scores_B).unique(return_inverse=True)  # the highest score first

    def measure(weights_RB: Tensor) -> Tensor:
        zero_RU = torch.zeros(len(weights_RB), len(different_U), dtype=torch.float64)
        positive_RU = zero_RU.index_add(1, place_B, weights_RB * (labels_B > 0))
        videos_RU = zero_RU.index_add(1, place_B, weights_RB)
        precision_RU = positive_RU.cumsum(1) / videos_RU.cumsum(1).clamp_min(1)
        return (positive_RU * precision_RU).sum(1) / positive_RU.sum(1)

    return measure


def calibration_error(best_B: Tensor, right_B: Tensor) -> Measure:
    """The expected calibration error: by how much the mean score of the best class and the fraction that is right
    differ, as a mean over the videos of BINS bins of equal width (Guo et al., 2017, equation 3)."""
    bin_B, off_B = bin_of(best_B), right_B.double() - best_B.double()

    def measure(weights_RB: Tensor) -> Tensor:
        zero_RN = torch.zeros(len(weights_RB), BINS, dtype=torch.float64)
        return zero_RN.index_add(1, bin_B, weights_RB * off_B).abs().sum(1) / weights_RB.sum(1)

    return measure


def bin_of(best_B: Tensor) -> Tensor:
    """The number of each score's bin."""
    return (best_B.double() * BINS).long().clamp(0, BINS - 1)
