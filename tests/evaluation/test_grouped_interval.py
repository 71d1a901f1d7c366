"""The interval of groups of videos against the variance of a ratio, and against Wilson's."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from timesformer.evaluation.interval import grouped_interval, wilson_interval


def test_groups_of_one_are_independent_videos() -> None:
    right = torch.arange(200) % 10 < 7
    assert grouped_interval(right, range(200)) == wilson_interval(0.7, 200)


def test_equal_groups_have_students_interval_of_their_scores() -> None:
    right = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0], dtype=torch.bool)
    scores = right.double().unflatten(0, (4, 4)).mean(1).tolist()
    low, high = stats.t.interval(0.95, 3, sum(scores) / 4, stats.sem(scores))
    found = grouped_interval(right, [row // 4 for row in range(16)])
    assert found == pytest.approx((max(low, 0), min(high, 1)))


def test_groups_that_are_alike_say_no_more_than_their_videos() -> None:
    right = torch.arange(200) % 10 < 7
    assert grouped_interval(right, [row // 10 for row in range(200)]) == pytest.approx(wilson_interval(0.7, 200))
    assert grouped_interval(torch.ones(50), [row % 5 for row in range(50)]) == pytest.approx(wilson_interval(1, 50))
    assert grouped_interval(right, [0] * 200) == (0, 1)


def test_unequal_groups_have_the_error_of_a_ratio() -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(1, 12, (40,), generator=generator)
    groups = torch.arange(40).repeat_interleave(sizes).tolist()
    rate = torch.rand(40, generator=generator).repeat_interleave(sizes)
    right = torch.rand(len(groups), generator=generator) < rate
    score = float(right.double().mean())
    sums = torch.zeros(40, dtype=torch.float64).index_add_(0, torch.tensor(groups), right.double() - score)
    half = stats.t.ppf(0.975, 39) * float((sums.square().sum() * 40 / 39).sqrt()) / len(groups)
    assert grouped_interval(right, groups) == pytest.approx((score - half, score + half))


def test_it_holds_what_is_right_of_few_groups() -> None:
    """Six groups of unequal size that differ: about 95 of 100 intervals hold the mean of all groups."""
    generator = torch.Generator().manual_seed(1)
    held = 0
    for _ in range(400):
        sizes = torch.randint(6, 15, (6,), generator=generator)
        rate = (0.6 + 0.3 * (torch.rand(6, generator=generator) - 0.5)).repeat_interleave(sizes)
        right = torch.rand(len(rate), generator=generator) < rate
        low, high = grouped_interval(right, torch.arange(6).repeat_interleave(sizes).tolist())
        held += low <= 0.6 <= high
    assert held / 400 > 0.92
