"""Targets of a batch, and clips mixed with each other: mixup (Zhang et al., 2018) and cutmix (Yun et al., 2019).

Dimensions: B clips, K classes, C 3 colours, T frames, H and W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from timesformer.config import Augmentation


def mix(clips_BCTHW: Tensor, targets_BK: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
    """Each clip with a share of another one of the batch, its target with the same share of the other's.

    mixup blends all pixels; cutmix takes a box, the same in all frames. Where both are on, each batch has one of the
    two, with equal chance. One share is drawn for the batch, from torch's global random numbers.
    """
    kinds = [name for name in ("mixup", "cutmix") if getattr(augmentation, name)]
    if not kinds or len(clips_BCTHW) < 2:
        return clips_BCTHW, targets_BK
    kind = kinds[int(torch.randint(len(kinds), ()))]
    alpha = torch.tensor(float(getattr(augmentation, kind)))
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(clips_BCTHW)).to(clips_BCTHW.device)
    if kind == "mixup":
        clips_BCTHW = share * clips_BCTHW + (1 - share) * clips_BCTHW[other]
    else:
        height, width = clips_BCTHW.shape[3:]
        rows, columns = _interval(height, share), _interval(width, share)
        mixed = clips_BCTHW.clone()
        mixed[:, :, :, rows, columns] = clips_BCTHW[other][:, :, :, rows, columns]
        share = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
        clips_BCTHW = mixed
    return clips_BCTHW, share * targets_BK + (1 - share) * targets_BK[other]


def _interval(length: int, share: float) -> slice:
    """A side of a box that leaves about `share` of the frame: its middle anywhere, cut at the borders."""
    half = length * (1 - share) ** 0.5 / 2
    middle = float(torch.rand(())) * length
    return slice(round(max(middle - half, 0)), round(min(middle + half, length)))
