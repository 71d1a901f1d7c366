"""Wilson's interval against scipy's."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from timesformer.evaluation.interval import wilson_interval


@pytest.mark.parametrize(("right", "videos"), [(0, 4), (4, 4), (10, 20), (15, 20), (62, 98), (1, 1), (2500, 10_000)])
def test_it_is_scipys(right: int, videos: int) -> None:
    expected = binomtest(right, videos).proportion_ci(method="wilson")
    found = wilson_interval(right / videos, videos)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert found.width == pytest.approx(expected.high - expected.low, abs=1e-6)


def test_no_videos_say_nothing() -> None:
    assert wilson_interval(0.0, 0) == (0, 1)
