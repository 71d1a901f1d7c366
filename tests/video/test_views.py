"""Training clips, test views and normalisation against references."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from conftest import moving_bar, small_recipe
from timesformer.config import Augmentation, ClipShape, Preprocessing, Sampling
from timesformer.errors import SettingError
from timesformer.video.encode import write_video
from timesformer.video.source import open_video
from timesformer.video.transforms import draw_short_side, normalise, training_views
from timesformer.video.views import read_views, spatial_crops


def numbered(height: int, width: int) -> Tensor:
    """(3, 1, H, W) whose values are row * 1000 + column."""
    grid = torch.arange(height)[:, None] * 1000 + torch.arange(width)
    return grid.expand(3, 1, -1, -1)


@pytest.mark.parametrize(("height", "width"), [(224, 298), (298, 224), (225, 224), (224, 225), (224, 224), (240, 301)])
def test_three_crops_by_the_released_rule(height: int, width: int) -> None:
    size = 224
    crops = spatial_crops(numbered(height, width), size, 3)
    top, left = math.ceil((height - size) / 2), math.ceil((width - size) / 2)
    corners = [(0, left), (top, left), (height - size, left)]
    if width >= height:
        corners = [(top, 0), (top, left), (top, width - size)]
    assert [divmod(int(crop[0, 0, 0, 0]), 1000) for crop in crops] == corners
    assert all(crop.shape[2:] == (size, size) for crop in crops)
    assert torch.equal(spatial_crops(numbered(height, width), size, 1)[0], crops[1])


def test_crops_that_cannot_be() -> None:
    with pytest.raises(SettingError, match="crops is 2; expected 1 or 3"):
        spatial_crops(numbered(20, 30), 16, 2)


def test_short_sides_follow_their_distribution() -> None:
    generator = random.Random(0)
    uniform = [draw_short_side(Augmentation(short_side=(256, 320)), generator) for _ in range(4000)]
    assert (min(uniform), max(uniform)) == (256, 320)
    assert sum(uniform) / 4000 == pytest.approx(288, abs=1)
    settings = Augmentation(short_side=(200, 400), short_side_distribution="inverse_uniform")
    inverse = [draw_short_side(settings, generator) for _ in range(4000)]
    assert (min(inverse), max(inverse)) == (200, 400)
    # 1/s uniform on [1/400, 1/200]: the mean of s is 400 ln 2
    assert sum(inverse) / 4000 == pytest.approx(400 * math.log(2), abs=4)


def test_training_views_are_crops_and_mirrors_of_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving_bar(1, 0), 10)
    shape = ClipShape(frames=4, side=16)
    preprocessing = Preprocessing(sampling=Sampling(rate=2))
    seen = set()
    with open_video(tmp_path / "a.mp4") as video:
        frames = {side: video.read(range(10), side) for side in (16, 17, 18)}
        for seed in range(60):
            augmentation = Augmentation(short_side=(16, 18))
            view = training_views(video, shape, preprocessing, augmentation, random.Random(seed))[0]
            again = training_views(video, shape, preprocessing, augmentation, random.Random(seed))[0]
            assert torch.equal(view, again)
            seen |= set(places(view, frames))
    starts, sides, lefts, mirrored = (set(values) for values in zip(*seen, strict=True))
    assert (starts, sides, mirrored) == ({0, 1}, {16, 17, 18}, {False, True})
    assert len(lefts) > 4


def places(view: Tensor, frames: dict[int, Tensor]) -> list[tuple[int, int, int, bool]]:
    """First frame, short side, left border and mirroring that explain a view, exactly one of each."""
    found = []
    for side, every in frames.items():
        spans = {tuple(int(start / 60 + index * 7 / 3) for index in range(4)) for start in range(120)}
        for numbers in spans:
            for top in range(side - 15):
                for left in range(every.shape[3] - 15):
                    crop = every[:, list(numbers), top : top + 16, left : left + 16]
                    found += [
                        (numbers[0], side, left, flip)
                        for flip in (False, True)
                        if torch.equal(view, crop.flip(3) if flip else crop)
                    ]
    assert found
    return found


def test_views_come_clip_by_clip(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving_bar(1, 0), 10)
    recipe = small_recipe()
    with open_video(tmp_path / "a.mp4") as video:
        cover = Preprocessing(sampling=Sampling(method="cover", rate=1), test_crops=1)
        views = read_views(video, recipe.model.clip_shape, cover)
        frames = video.read([0, 1, 2, 3, 6, 7, 8, 9], 16)[..., 3:19]  # 21 columns
    assert torch.equal(views, torch.stack(frames.split(4, dim=1)))


def test_normalise() -> None:
    clip = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1, 1)
    settings = Preprocessing(mean=(0.5, 0.1, 0.4), std=(0.5, 0.2, 0.3))
    expected = torch.tensor([-1.0, 0.5, 2.0]).view(1, 3, 1, 1, 1)
    torch.testing.assert_close(normalise(clip, settings), expected)
    swapped = settings.model_copy(update={"channels": "bgr"})
    torch.testing.assert_close(normalise(clip, swapped), expected.flip(1))
    torch.testing.assert_close(normalise(clip[0], settings), expected[0])
    assert normalise(clip, settings, torch.bfloat16).dtype == torch.bfloat16
