"""Random changes of a clip: the same in all frames, decided by the seed alone, of the strength that is asked for."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from timesformer.config import Augmentation, ClipShape, Preprocessing
from timesformer.video import random_ops, transforms
from timesformer.video.random_ops import randomly_changed

EVERYTHING = Augmentation(affine=0.5, random_ops=3, erasing=0.5)


def picture(frames: int, size: int = 32) -> Tensor:
    """uint8 (3, frames, size, size): one picture of many colours, in every frame."""
    image_CHW = torch.randint(256, (3, 8, 8), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    image_CHW = image_CHW.repeat_interleave(size // 8, 1).repeat_interleave(size // 8, 2)
    return image_CHW.unsqueeze(1).repeat(1, frames, 1, 1)


def test_all_frames_change_alike() -> None:
    clip = picture(5)
    changed = [randomly_changed(clip, EVERYTHING, seed) for seed in range(40)]
    for found in changed:
        assert (found.shape, found.dtype) == (clip.shape, torch.uint8)
        assert all(torch.equal(found[:, frame], found[:, 0]) for frame in range(5))
    assert len({found.numpy().tobytes() for found in changed}) == 40
    assert torch.equal(clip, picture(5))  # what came in is as it was


def test_the_seed_alone_decides_and_no_other_random_numbers_move() -> None:
    clip = picture(2)
    first = randomly_changed(clip, EVERYTHING, 2**62 + 1)  # seeds are of 63 bits
    torch.manual_seed(9)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    randomly_changed(clip, EVERYTHING, 5)
    assert torch.equal(randomly_changed(clip, EVERYTHING, 2**62 + 1), first)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert all(np.array_equal(one, two) for one, two in zip(np.random.get_state(), states[2], strict=True))


def test_a_box_is_erased_from_a_fraction_of_clips() -> None:
    white = torch.full((3, 2, 32, 32), 255, dtype=torch.uint8)
    erased = 0
    for seed in range(300):
        clip = randomly_changed(white, Augmentation(erasing=0.3), seed)
        assert set(clip.unique().tolist()) <= {0, 255}
        black = (clip == 0).nonzero()
        if not len(black):
            continue
        erased += 1
        height, width = (black[:, 2:].max(0).values - black[:, 2:].min(0).values + 1).tolist()
        assert len(black) == 3 * 2 * height * width  # a box in all colours and frames
        # a side may be off by a pixel, cut down to whole ones
        assert 0.02 * 32**2 - height - width <= height * width <= 0.33 * 32**2 + height + width
        assert (height - 1) / (width + 1) <= 3.3
        assert (width - 1) / (height + 1) <= 3.3
    assert abs(erased - 90) < 5 * (300 * 0.3 * 0.7) ** 0.5


def test_a_warp_moves_as_far_as_its_strength() -> None:
    """A white dot in the middle: a shift of at most 0.45 x 0.2 of the side, and nothing else moves it far."""
    dot = torch.zeros(3, 1, 64, 64, dtype=torch.uint8)
    dot[:, :, 31:33, 31:33] = 255
    places = []
    for seed in range(200):
        clip = randomly_changed(dot, Augmentation(affine=0.2), seed)[0, 0].float()
        rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        places.append([float((clip * axis).sum() / clip.sum()) - 31.5 for axis in (rows, columns)])
    far = np.abs(np.array(places)).max(0)
    assert (far < 0.45 * 0.2 * 64 + 1).all()
    assert (far > 0.45 * 0.2 * 64 * 0.8).all()
    assert np.abs(np.mean(places, 0)).max() < 5 * 0.45 * 0.2 * 64 / 3**0.5 / 200**0.5  # no side is preferred
    clip = picture(1)
    still = randomly_changed(clip, Augmentation(affine=1e-6), 0)
    assert int((still.int() - clip.int()).abs().max()) <= 1


def test_operations_are_drawn_equally_often_and_none_twice() -> None:
    drawn = Counter[str]()
    (sequence,) = random_ops._changes(0.0, 3, 0.5, 0.0)
    clip = picture(1, 16)
    for seed in range(240):
        randomly_changed(clip, Augmentation(random_ops=3), seed)
        names = [item.name for item in sequence._params]
        assert len(names) == len(set(names)) == 3
        drawn.update(names)
    assert len(drawn) == 12
    expected = 240 * 3 / 12
    assert max(abs(count - expected) for count in drawn.values()) < 5 * (expected * (1 - 3 / 12)) ** 0.5


def test_a_small_magnitude_changes_little() -> None:
    """Of the twelve, only equalising, stretching the contrast and the last bits know no strength."""
    clip = picture(1)
    weak = Augmentation(random_ops=1, random_magnitude=1e-3)
    near = sum(float((randomly_changed(clip, weak, seed).float() - clip).abs().mean()) < 2 for seed in range(120))
    assert near > 120 * 8 / 12 - 5 * (120 * 8 / 12 * 4 / 12) ** 0.5


class Black:
    """Instead of a video."""

    num_frames, fps = 9, None

    def read(self, numbers: list[int], short_side: int) -> Tensor:
        return torch.zeros(3, len(numbers), short_side, short_side, dtype=torch.uint8)


@pytest.mark.parametrize("setting", [{}, {"affine": 0.1}, {"random_ops": 1}, {"erasing": 0.1}])
def test_clips_are_changed_only_where_a_setting_asks(
    monkeypatch: pytest.MonkeyPatch, setting: dict[str, float]
) -> None:
    seeds: list[int] = []

    def noted(clip: Tensor, augmentation: Augmentation, seed: int) -> Tensor:
        seeds.append(seed)
        return clip

    monkeypatch.setattr(transforms, "randomly_changed", noted)
    augmentation = Augmentation(short_side=(16, 16), repeats=3, **setting)  # type: ignore[arg-type]
    transforms.training_views(Black(), ClipShape(2, 16), Preprocessing(), augmentation, random.Random(0))  # type: ignore[arg-type]
    assert len(set(seeds)) == (3 if setting else 0)  # every clip draws its own
