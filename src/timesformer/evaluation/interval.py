"""How far a score may be from what more videos, folds or seeds would give: 95% intervals.

Dimensions: B videos, G groups of videos.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LEVEL = 0.95
ROUNDING = 1e-9  # by which sums of the same fractions differ
NORMAL = 1.959964  # standard deviations that 95% of a normal distribution lie within


class Interval(NamedTuple):
    """A 95% interval of a fraction."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


def wilson_interval(score: float, videos: int) -> Interval:
    """Wilson's 95% interval of a fraction `score` of independent `videos`; 0 to 1 of none (Wilson, 1927).

    Clips of one recording are not independent: the interval is then too narrow, see `grouped_interval`.
    """
    if not videos:
        return Interval(0.0, 1.0)
    square = NORMAL**2 / videos
    centre = (score + square / 2) / (1 + square)
    half = (square * score * (1 - score) + square**2 / 4) ** 0.5 / (1 + square)
    return Interval(max(centre - half, 0.0), min(centre + half, 1.0))


def grouped_interval(right_B: Tensor, groups: Sequence[Hashable]) -> Interval:
    """A 95% interval of the fraction of videos that are right, where only videos of different groups are independent.

    The fraction is a ratio of sums over groups. It is Student's interval of G - 1 degrees of freedom with the ratio's
    linearised variance (Cochran, Sampling Techniques, 1977, section 6.3), and no narrower than Wilson's of all videos;
    that alone where each video is its own group, 0 to 1 where there is one group of several videos.

    right_B: of each video, whether it is right. groups: the group of each.
    """
    number = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    count, videos, score = len(number), len(right_B), float(right_B.double().mean())
    if count == videos:
        return wilson_interval(score, videos)
    if count == 1:
        return Interval(0.0, 1.0)
    group_B = torch.tensor([number[group] for group in groups])
    off_G = torch.zeros(count, dtype=torch.float64).index_add_(0, group_B, right_B.double() - score)
    error = math.sqrt(count / (count - 1) * float(off_G.square().sum())) / videos
    half = student(count - 1) * error
    return _at_least_wilson(score - half, score + half, wilson_interval(score, videos))


def mean_interval(scores: Sequence[float], videos: int | None = None) -> Interval:
    """The 95% interval of the mean of scores, such as of folds, of seeds, or differences of two runs in the same folds.

    It is Student's, mean +- t s / sqrt(n), for scores as far apart as these. Where they are fractions of `videos` test
    videos in all, it is no narrower than that many allow (Wilson, 1927): folds that all score 1 on four videos do not
    show that the next score is 1. Fractions end at 0 and 1.

    Folds share most of their training videos, which this leaves out of account, so that it is a little too narrow for
    runs on other data (Bengio and Grandvalet, 2004). Scores that are all equal give no width, which says nothing of how
    far apart others would be: see `are_equal`.

    scores: two or more. videos: None for what is no fraction of videos. Raises ValueError for fewer than two scores.
    """
    mean, spread = statistics.fmean(scores), statistics.stdev(scores)
    half = student(len(scores) - 1) * spread / math.sqrt(len(scores))
    low, high = mean - half, mean + half
    if videos is None:
        return Interval(low, high)
    return _at_least_wilson(low, high, wilson_interval(mean, videos))


def student(degrees: int) -> float:
    """The t that 95% of Student's distribution of so many degrees of freedom is within."""
    low, high = 0.0, 1.0
    while _within(high, degrees) < LEVEL:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _within(middle, degrees) < LEVEL else (low, middle)
    return high


def are_equal(values: Sequence[float]) -> bool:
    """Whether values are the same but for rounding: so many show no spread, and nothing can be said of others."""
    return max(values) - min(values) < ROUNDING


def paired_p_value(differences: Sequence[float]) -> float | None:
    """The two-sided p-value of Student's paired t-test: how probable a mean this far from zero is, were it zero.

    differences: of two or more pairs, such as two cells of a study with the same seeds. None where all are equal: the
    test compares the mean with a spread, and they show none. Raises ValueError for fewer than two.
    """
    mean, spread = statistics.fmean(differences), statistics.stdev(differences)
    if are_equal(differences):
        return None
    return 1 - _within(abs(mean) * math.sqrt(len(differences)) / spread, len(differences) - 1)


def _at_least_wilson(low: float, high: float, wilson: Interval) -> Interval:
    """Both intervals, between 0 and 1."""
    return Interval(max(0.0, min(low, wilson.low)), min(1.0, max(high, wilson.high)))


def _within(t: float, degrees: int) -> float:
    """The probability of a value between -t and t (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for power in range(1 + odd, degrees, 2):
        total += term
        term *= cosine**2 * power / (power + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
