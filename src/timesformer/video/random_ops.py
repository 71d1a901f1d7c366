"""Random changes of whole clips with kornia: RandAugment's operations and erased boxes, the same in all frames.

RandAugment (Cubuk et al., 2020) draws a few operations for each clip. Mirroring is not one of them: where a class is a
direction, it would be wrong.

Dimensions: C 3 colours, T frames, H and W pixels.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from timesformer.config import Augmentation

BOX_SHARE = (0.02, 0.33)
BOX_RATIO = (0.3, 3.3)


def randomly_changed(clip_CTHW: Tensor, augmentation: Augmentation, seed: int) -> Tensor:
    """A uint8 clip (3, T, H, W) after the operations that `seed` draws; pixels from outside the frame are black.

    torch's global random numbers, which kornia draws from, are left as they were.
    """
    clip_BCTHW = clip_CTHW.unsqueeze(0).float() / 255
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for change in _changes(
            augmentation.random_ops, augmentation.random_magnitude, augmentation.random_pool, augmentation.erasing
        ):
            clip_BCTHW = change(clip_BCTHW)
    return (clip_BCTHW[0] * 255).round().clamp(0, 255).byte()


@lru_cache(maxsize=4)
def _changes(ops: int, magnitude: float, pool: str, erasing: float) -> list[torch.nn.Module]:
    from kornia.augmentation import RandomErasing, VideoSequential

    changes: list[torch.nn.Module] = []
    if ops:
        drawn = _geometric(magnitude) if pool == "geometric" else _geometric(magnitude) + _photometric(magnitude)
        changes.append(VideoSequential(*drawn, data_format="BCTHW", same_on_frame=True, random_apply=ops))
    if erasing:
        box = RandomErasing(scale=BOX_SHARE, ratio=BOX_RATIO, value=0.0, p=erasing)
        changes.append(VideoSequential(box, data_format="BCTHW", same_on_frame=True))
    return changes


def _geometric(magnitude: float) -> list[torch.nn.Module]:
    """Up to 30 degrees, 17 degrees of shear, 45% of the side, half the size at full magnitude."""
    from kornia.augmentation import RandomAffine, RandomRotation, RandomShear

    return [
        RandomRotation(30 * magnitude, p=1.0),
        RandomShear((-17 * magnitude, 17 * magnitude, -17 * magnitude, 17 * magnitude), p=1.0),
        RandomAffine(0, translate=(0.45 * magnitude, 0.45 * magnitude), p=1.0),
        RandomAffine(0, scale=(1 - 0.5 * magnitude, 1 + 0.5 * magnitude), p=1.0),
    ]


def _photometric(magnitude: float) -> list[torch.nn.Module]:
    """Factors of 0.1 to 1.9 at full magnitude; 8 to 4 bits a colour."""
    from kornia.augmentation import (
        RandomAutoContrast,
        RandomBrightness,
        RandomContrast,
        RandomEqualize,
        RandomPosterize,
        RandomSaturation,
        RandomSharpness,
        RandomSolarize,
    )

    factor = (1 - 0.9 * magnitude, 1 + 0.9 * magnitude)
    return [
        RandomBrightness(factor, p=1.0),
        RandomContrast(factor, p=1.0),
        RandomSaturation(factor, p=1.0),
        RandomSharpness(0.9 * magnitude, p=1.0),
        RandomPosterize((8 - 4 * magnitude, 8.0), p=1.0),
        RandomSolarize(thresholds=0.5 * magnitude, additions=0.1 * magnitude, p=1.0),
        RandomAutoContrast(p=1.0),
        RandomEqualize(p=1.0),
    ]
