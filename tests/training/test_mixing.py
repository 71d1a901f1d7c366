"""mixup and cutmix by value: what is mixed is what the targets say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from timesformer.config import Augmentation
from timesformer.training.mixing import mix


def batch(clips: int, size: int = 16) -> tuple[Tensor, Tensor]:
    """Clips whose every pixel is their number, each of a class of its own."""
    numbers_B = torch.arange(float(clips))
    return numbers_B.view(-1, 1, 1, 1, 1).expand(clips, 3, 2, size, size).clone(), torch.eye(clips)


def test_without_settings_or_company_nothing_is_mixed() -> None:
    clips, targets = batch(4)
    state = torch.get_rng_state()
    assert mix(clips, targets, Augmentation()) == (clips, targets)
    alone, target = batch(1)
    assert mix(alone, target, Augmentation(mixup=1.0, cutmix=1.0)) == (alone, target)
    assert torch.equal(torch.get_rng_state(), state)


def test_mixup_blends_every_pixel_by_the_targets_share() -> None:
    for seed in range(50):
        torch.manual_seed(seed)
        clips, targets = batch(5)
        mixed, shares = mix(clips, targets, Augmentation(mixup=0.4))
        torch.testing.assert_close(shares.sum(1), torch.ones(5))
        expected = (shares @ torch.arange(5.0)).view(-1, 1, 1, 1, 1).expand_as(mixed)
        torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-5)
        assert torch.equal(clips, batch(5)[0])
        torch.manual_seed(seed)
        again = mix(clips, targets, Augmentation(mixup=0.4))
        assert torch.equal(again[0], mixed)
        assert torch.equal(again[1], shares)


def test_cutmix_targets_are_the_shares_of_pixels() -> None:
    sizes = set()
    for seed in range(100):
        torch.manual_seed(seed)
        clips, targets = batch(5)
        mixed, shares = mix(clips, targets, Augmentation(cutmix=1.0))
        pixels = torch.stack([(mixed == number).flatten(1).float().mean(1) for number in range(5)], 1)
        torch.testing.assert_close(shares, pixels, rtol=0, atol=1e-6)
        moved = [clip for clip in range(5) if shares[clip, clip] < 1]
        boxes = [(mixed[clip] != clip).nonzero() for clip in moved]
        for box in boxes:
            assert torch.equal(box, boxes[0])  # one box for the batch
            sides = (box[:, 2:].max(0).values - box[:, 2:].min(0).values + 1).tolist()
            assert len(box) == 3 * 2 * sides[0] * sides[1]  # a box, in all colours and frames
            sizes.add(tuple(sides))
        assert torch.equal(clips, batch(5)[0])
    assert len(sizes) > 20


@pytest.mark.parametrize("alpha", [0.3, 0.6, 1.0])
def test_shares_follow_the_beta_law(alpha: float) -> None:
    """Mean 1/2, variance 1 / (4 (2 alpha + 1)); seen where clip 0 got a partner."""
    torch.manual_seed(1)
    clips, targets = batch(8, 1)
    drawn = torch.stack([mix(clips, targets, Augmentation(mixup=alpha))[1] for _ in range(1500)])
    partnered = drawn[:, 0, 0] < 1
    assert int(partnered.sum()) == pytest.approx(1500 * 7 / 8, abs=5 * (1500 * 7 / 64) ** 0.5)
    shares = drawn[partnered, 0, 0]
    variance = 1 / (4 * (2 * alpha + 1))
    assert float(shares.mean()) == pytest.approx(0.5, abs=5 * (variance / len(shares)) ** 0.5)
    assert float(shares.var()) == pytest.approx(variance, rel=0.15)


def test_both_take_turns() -> None:
    torch.manual_seed(0)
    clips, targets = batch(6)
    blended = 0
    for _ in range(300):
        mixed, _ = mix(clips, targets, Augmentation(mixup=1.0, cutmix=1.0))
        blended += bool((mixed != mixed.round()).any())
    assert abs(blended - 150) < 5 * 75**0.5


def test_several_classes_a_clip_are_mixed_too() -> None:
    torch.manual_seed(2)
    clips, _ = batch(2)
    targets = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    for _ in range(20):
        _, shares = mix(clips, targets, Augmentation(mixup=1.0))
        torch.testing.assert_close(shares[:, 1], torch.ones(2))
        torch.testing.assert_close(shares[:, 0] + shares[:, 2], torch.ones(2))
