"""Random changes of whole clips with kornia, the same in all frames: a warp, RandAugment's operations, erased boxes.

RandAugment (Cubuk et al., 2020) draws a few operations for each clip. Mirroring is not one of them: where a class is a
direction, it would be wrong.

Dimensions: C 3 colours, T frames, H and W pixels.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from timesformer.config import Augmentation

# At full strength:
DEGREES, SHEAR = 30.0, 17.0  # either way
SHIFT, ZOOM = 0.45, 0.5  # of the side, either way

BOX_AREA = (0.02, 0.33)  # as a fraction of the frame
BOX_RATIO = (0.3, 3.3)


def randomly_changed(clip_CTHW: Tensor, augmentation: Augmentation, seed: int) -> Tensor:
    """A uint8 clip (3, T, H, W) after the operations that `seed` draws; pixels from outside the frame are black.

    torch's global random numbers, which kornia draws from, are left as they were.
    """
    clip_BCTHW = clip_CTHW.unsqueeze(0).float() / 255
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for change in _changes(
            augmentation.affine, augmentation.random_ops, augmentation.random_magnitude, augmentation.erasing
        ):
            clip_BCTHW = change(clip_BCTHW)
    return (clip_BCTHW[0] * 255).round().clamp(0, 255).byte()


@lru_cache(maxsize=4)
def _changes(affine: float, ops: int, magnitude: float, erasing: float) -> list[torch.nn.Module]:
    from kornia.augmentation import RandomAffine, RandomErasing, VideoSequential

    changes: list[torch.nn.Module] = []
    if affine:
        warp = RandomAffine(
            degrees=DEGREES * affine,
            translate=(SHIFT * affine, SHIFT * affine),
            scale=(1 - ZOOM * affine, 1 + ZOOM * affine),
            shear=SHEAR * affine,
            p=1.0,
        )
        changes.append(VideoSequential(warp, data_format="BCTHW", same_on_frame=True))
    if ops:
        drawn = _operations(magnitude)
        changes.append(VideoSequential(*drawn, data_format="BCTHW", same_on_frame=True, random_apply=ops))
    if erasing:
        box = RandomErasing(scale=BOX_AREA, ratio=BOX_RATIO, value=0.0, p=erasing)
        changes.append(VideoSequential(box, data_format="BCTHW", same_on_frame=True))
    return changes


def _operations(magnitude: float) -> list[torch.nn.Module]:
    """The twelve operations; colours change by factors of 0.1 to 1.9 at full magnitude, or to 4 bits."""
    from kornia import augmentation as kornia

    factor = (1 - 0.9 * magnitude, 1 + 0.9 * magnitude)
    return [
        kornia.RandomRotation(DEGREES * magnitude, p=1.0),
        kornia.RandomShear((-SHEAR * magnitude, SHEAR * magnitude, -SHEAR * magnitude, SHEAR * magnitude), p=1.0),
        kornia.RandomAffine(0, translate=(SHIFT * magnitude, SHIFT * magnitude), p=1.0),
        kornia.RandomAffine(0, scale=(1 - ZOOM * magnitude, 1 + ZOOM * magnitude), p=1.0),
        kornia.RandomBrightness(factor, p=1.0),
        kornia.RandomContrast(factor, p=1.0),
        kornia.RandomSaturation(factor, p=1.0),
        kornia.RandomSharpness(0.9 * magnitude, p=1.0),
        kornia.RandomPosterize((8 - 4 * magnitude, 8.0), p=1.0),
        kornia.RandomSolarize(thresholds=0.5 * magnitude, additions=0.1 * magnitude, p=1.0),
        kornia.RandomAutoContrast(p=1.0),
        kornia.RandomEqualize(p=1.0),
    ]
