"""Targets of a batch, and clips mixed with each other: mixup (Zhang et al., 2018) and cutmix (Yun et al., 2019).

Dimensions: B clips, K classes, C 3 colours, T frames, H and W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from timesformer.config import Augmentation


def mix(clips_BCTHW: Tensor, targets_BK: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
    """Each clip mixed with another one of the batch, and its target with the other's target in the same proportion.

    mixup blends all pixels; cutmix takes a box, the same in all frames. Where both are on, each batch has one of the
    two, with equal chance. One fraction is drawn for the batch, from torch's global random numbers.
    """
    kinds = [name for name in ("mixup", "cutmix") if getattr(augmentation, name)]
    if not kinds or len(clips_BCTHW) < 2:
        return clips_BCTHW, targets_BK
    kind = kinds[int(torch.randint(len(kinds), ()))]
    alpha = torch.tensor(float(getattr(augmentation, kind)))
    fraction = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(clips_BCTHW)).to(clips_BCTHW.device, non_blocking=True)
    if kind == "mixup":
        clips_BCTHW = fraction * clips_BCTHW + (1 - fraction) * clips_BCTHW[other]
    else:
        height, width = clips_BCTHW.shape[3:]
        rows, columns = _interval(height, fraction), _interval(width, fraction)
        mixed = clips_BCTHW.clone()
        mixed[:, :, :, rows, columns] = clips_BCTHW[other][:, :, :, rows, columns]
        fraction = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
        clips_BCTHW = mixed
    return clips_BCTHW, fraction * targets_BK + (1 - fraction) * targets_BK[other]


def _interval(length: int, fraction: float) -> slice:
    """A side of a box that leaves about `fraction` of the frame: its middle anywhere, cut at the borders."""
    half = length * (1 - fraction) ** 0.5 / 2
    middle = float(torch.rand(())) * length
    return slice(round(max(middle - half, 0)), round(min(middle + half, length)))
