"""The distributions that training draws from, and pixel normalisation, against numbers worked out by hand."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from timesformer.config import Augmentation, ClipShape, Preprocessing, Sampling
from timesformer.errors import SettingError
from timesformer.video.transforms import draw_short_side, normalise, training_views
from timesformer.video.views import spatial_crops


class Canvas:
    """Instead of a video: every pixel holds its frame, row and column. 12 frames, twice as wide as high, or high."""

    num_frames, fps = 12, None

    def __init__(self, wide: bool = True) -> None:
        self.wide = wide
        self.read_as: list[tuple[list[int], int]] = []

    def read(self, numbers: list[int], short_side: int) -> Tensor:
        self.read_as.append((numbers, short_side))
        size = (short_side, 2 * short_side) if self.wide else (2 * short_side, short_side)
        rows, columns = torch.meshgrid(*map(torch.arange, size), indexing="ij")
        return torch.stack([torch.stack([torch.full(size, number), rows, columns]) for number in numbers], 1).byte()


SHAPE = ClipShape(frames=4, side=16)


def draws(canvas: Canvas, augmentation: Augmentation, count: int, sampling: Sampling) -> list[tuple[int, int, bool]]:
    """Row and column of the crop's upper left corner, and whether it is mirrored, checked pixel by pixel."""
    generator = random.Random(0)
    found = []
    for _ in range(count):
        preprocessing = Preprocessing(sampling=sampling)
        (view,) = training_views(canvas, SHAPE, preprocessing, augmentation, generator)  # type: ignore[arg-type]
        top, ends = int(view[1, 0, 0, 0]), (int(view[2, 0, 0, 0]), int(view[2, 0, 0, -1]))
        left, mirrored = min(ends), ends[0] > ends[1]
        numbers, side = canvas.read_as[-1]
        crop = canvas.read(numbers, side)[:, :, top : top + 16, left : left + 16]
        canvas.read_as.pop()
        assert torch.equal(view, crop.flip(3) if mirrored else crop)
        assert view.is_contiguous()
        found.append((top, left, mirrored))
    return found


@pytest.mark.parametrize("wide", [True, False])
def test_crops_and_mirrors_are_uniform(wide: bool) -> None:
    canvas = Canvas(wide)
    found = draws(canvas, Augmentation(short_side=(18, 18)), 2000, Sampling(rate=2))
    short, long = ("top", "left") if wide else ("left", "top")
    tops, lefts, mirrored = (np.array(values) for values in zip(*found, strict=True))
    places = {"top": tops, "left": lefts}
    # 3 places along the short side, 36 - 16 + 1 = 21 along the long one; five standard deviations of a count
    for values, count in ((places[short], 3), (places[long], 21)):
        counts = np.bincount(values, minlength=count)
        assert len(counts) == count
        assert abs(counts - 2000 / count).max() < 5 * (2000 / count * (1 - 1 / count)) ** 0.5
    assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / 2000**0.5


def test_a_crop_of_the_whole_frame_and_no_mirror() -> None:
    canvas = Canvas()
    found = draws(canvas, Augmentation(short_side=(16, 16), flip=False), 200, Sampling(rate=2))
    assert {top for top, _, _ in found} == {0}
    assert not any(mirrored for _, _, mirrored in found)


def test_frames_are_those_that_sampling_draws() -> None:
    canvas = Canvas()
    draws(canvas, Augmentation(short_side=(16, 20)), 300, Sampling(method="segments"))
    # 12 frames in 4 segments from 0 to 11: borders at 2.75, 5.5, 8.25
    for numbers, side in canvas.read_as:
        assert 16 <= side <= 20
        assert all(
            low <= number <= high
            for number, (low, high) in zip(numbers, ((0, 3), (3, 6), (6, 8), (8, 11)), strict=True)
        )
    assert {numbers[0] for numbers, _ in canvas.read_as} == {0, 1, 2, 3}


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_inverse_uniform_short_sides_by_their_quantiles(fraction: float) -> None:
    """1/s is uniform, so s lies below m with probability (1/low - 1/m) / (1/low - 1/high)."""
    generator = random.Random(1)
    settings = Augmentation(short_side=(200, 400), short_side_distribution="inverse_uniform")
    sides = [draw_short_side(settings, generator) for _ in range(8000)]
    # the quantile by hand, and between two whole numbers so that rounding plays no part
    quantile = int(1 / (1 / 200 - fraction * (1 / 200 - 1 / 400))) + 0.5
    expected = (1 / 200 - 1 / quantile) / (1 / 200 - 1 / 400)
    assert sum(side < quantile for side in sides) / 8000 == pytest.approx(expected, abs=5 * 0.5 / 8000**0.5)


def test_one_short_side_is_that_one() -> None:
    for distribution in ("uniform", "inverse_uniform"):
        settings = Augmentation(short_side=(333, 333), short_side_distribution=distribution)
        assert {draw_short_side(settings, random.Random(seed)) for seed in range(50)} == {333}


def test_normalise_by_hand() -> None:
    """Red 0, green 51, blue 255: 0, 0.2 and 1 of 1."""
    clip = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 2, 4, 5)
    official = Preprocessing()
    red, green, blue = -0.45 / 0.225, -0.25 / 0.225, 0.55 / 0.225
    assert torch.allclose(normalise(clip, official)[:, 1, 3, 4], torch.tensor([red, green, blue]))
    bgr = Preprocessing(channels="bgr")
    assert torch.allclose(normalise(clip, bgr)[:, 1, 3, 4], torch.tensor([blue, green, red]))
    # mean and std are given as RGB, whatever order the model takes
    settings = Preprocessing(mean=(0.1, 0.2, 0.5), std=(0.1, 0.5, 0.25), channels="bgr")
    batch = normalise(clip.expand(2, 3, 2, 4, 5), settings)
    assert torch.allclose(batch[1, :, 0, 0, 0], torch.tensor([2.0, 0.0, -1.0]))
    mmaction2 = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))  # 127.5 and 127.5 of 255
    assert torch.allclose(normalise(clip, mmaction2)[:, 0, 0, 0], torch.tensor([-1.0, (51 - 127.5) / 127.5, 1.0]))


@pytest.mark.parametrize("size", [(20, 30), (10, 40), (40, 23)])
@pytest.mark.parametrize("crops", [1, 3])
def test_frames_smaller_than_a_crop_are_refused(size: tuple[int, int], crops: int) -> None:
    with pytest.raises(SettingError, match=rf"frames of {size[0]} x {size[1]} pixels .* 24"):
        spatial_crops(torch.zeros(3, 1, *size), 24, crops)


def test_repeats_share_one_decoding_and_the_short_side_alone() -> None:
    canvas, generator = Canvas(), random.Random(4)
    augmentation = Augmentation(short_side=(18, 30), repeats=4)
    preprocessing = Preprocessing(sampling=Sampling(rate=2))
    places = set()
    for _ in range(5):
        views = training_views(canvas, ClipShape(3, 16), preprocessing, augmentation, generator)  # type: ignore[arg-type]
        ((numbers, _),) = canvas.read_as  # all frames of all clips, asked for once
        canvas.read_as.clear()
        assert views.shape == (4, 3, 3, 16, 16)
        for clip in range(4):
            assert views[clip, 0, :, 0, 0].tolist() == numbers[3 * clip : 3 * clip + 3]
        places |= {(*view[:, 0, 0, 0].tolist(), *view[:, 0, -1, -1].tolist()) for view in views}
    assert len(places) > 15  # of 20 clips: each has a start, a crop and a mirror of its own
