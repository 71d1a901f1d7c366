"""95% intervals: against scipy's distributions, and what few videos allow."""

from __future__ import annotations

import statistics

import pytest
from scipy import stats

from timesformer.evaluation.interval import mean_interval, student


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 10, 61, 200])
def test_student(degrees: int) -> None:
    assert student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)


def test_scores_that_differ_decide() -> None:
    scores = [0.5, 0.7, 0.9, 0.6, 0.8]
    expected = stats.t.interval(0.95, 4, statistics.fmean(scores), stats.sem(scores))
    assert mean_interval(scores, 1000) == pytest.approx(expected)
    assert mean_interval(scores) == pytest.approx(expected)
    differences = [0.02, 0.05, 0.01, -0.01]
    expected = stats.t.interval(0.95, 3, statistics.fmean(differences), stats.sem(differences))
    assert mean_interval(differences) == pytest.approx(expected)
    assert expected[0] < 0


def test_few_videos_decide() -> None:
    assert mean_interval([1.0] * 5, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)
    assert mean_interval([1.0, 0.0], 4) == (0.0, 1.0)
    with pytest.raises(statistics.StatisticsError):
        mean_interval([0.5])
