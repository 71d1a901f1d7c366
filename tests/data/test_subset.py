"""A part of a split: a fraction of each class, no class lost, smaller in larger, the same every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from timesformer.data.lists import LabelledVideo
from timesformer.data.manifest import Manifest
from timesformer.errors import SettingError

SIZES = {0: 40, 1: 10, 2: 3, 3: 1}


def manifest(rows: list[tuple[int, ...]], multilabel: bool = False) -> Manifest:
    videos = tuple(LabelledVideo(Path(f"{number}.mp4"), labels) for number, labels in enumerate(rows))
    labels = tuple("abcdefgh")
    return Manifest(Path(), Path("train.csv"), "train", labels, videos, multilabel, (Path("bad.mp4"),))


SINGLE = manifest([(label,) for number in range(40) for label, size in SIZES.items() if number < size])


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (0.5, {0: 20, 1: 5, 2: 2, 3: 1}),
        (0.25, {0: 10, 1: 2, 2: 1, 3: 1}),
        (0.001, {0: 1, 1: 1, 2: 1, 3: 1}),
        (0.95, {0: 38, 1: 10, 2: 3, 3: 1}),
        (1, SIZES),
    ],
)
def test_so_much_of_each_class(fraction: float, expected: dict[int, int]) -> None:
    part = SINGLE.subset(fraction, seed=3)
    assert Counter(video.label for video in part.videos) == expected
    assert (part.labels, part.quarantined, part.source) == (SINGLE.labels, SINGLE.quarantined, SINGLE.source)


def test_smaller_in_larger_in_the_order_of_the_list() -> None:
    larger = SINGLE
    for fraction in (0.9, 0.5, 0.25, 0.1, 0.01):
        part = SINGLE.subset(fraction, seed=7)
        assert set(part.videos) < set(larger.videos)
        assert list(part.videos) == [video for video in SINGLE.videos if video in part.videos]
        larger = part


def test_the_seed_decides() -> None:
    assert SINGLE.subset(0.2, seed=1) == SINGLE.subset(0.2, seed=1)
    drawn = [SINGLE.subset(0.2, seed=seed).videos for seed in range(20)]
    assert len(set(drawn)) == 20
    times = Counter(video for videos in drawn for video in videos if video.label == 0)
    assert len(times) == 40  # every one of the large class, sooner or later: each is in none of 20 with odds of 1 in 87
    assert max(times.values()) < 11


def test_several_classes_count_for_the_rarest() -> None:
    rows: list[tuple[int, ...]] = [(0,)] * 20 + [(0, 1)] * 10 + [()] * 10 + [(0, 1, 2)] * 4
    part = manifest(rows, multilabel=True).subset(0.5, seed=0)
    assert Counter(video.labels for video in part.videos) == {(0,): 10, (0, 1): 5, (): 5, (0, 1, 2): 2}
    assert part.multilabel


def test_no_class_is_lost_that_is_never_the_rarest() -> None:
    """Class 0 is in two rows, always beside a rarer or an equal one, which have rows without it."""
    rows: list[tuple[int, ...]] = [(1,), (1, 3), (2,), (2, 3), *([(3,)] * 20), (0, 1), (0, 2)]
    for seed in range(20):
        part = manifest(rows, multilabel=True).subset(0.05, seed)
        assert {label for video in part.videos for label in video.labels} == {0, 1, 2, 3}


@pytest.mark.parametrize("fraction", [0, -0.5, 1.01, float("nan")])
def test_fractions_out_of_range(fraction: float) -> None:
    with pytest.raises(SettingError, match=r"fraction .*: expected a fraction above 0, at most 1"):
        SINGLE.subset(fraction, seed=0)
