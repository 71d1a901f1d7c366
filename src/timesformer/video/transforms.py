"""Training clips: frames drawn at random, scaled, cropped, mirrored; and pixel normalisation, for all clips.

Dimensions: C 3 colours, T frames, H and W pixels.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor

from timesformer.config import Architecture, Augmentation, Preprocessing
from timesformer.video.sampling import training_clip
from timesformer.video.source import Video


def training_view(
    video: Video,
    model: Architecture,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    generator: random.Random,
) -> Tensor:
    """One augmented clip of a video, for a model: uint8 RGB (3, T, S, S) with S = model.image_size.

    All that is random comes from `generator`, so the same state gives the same clip, bit for bit.
    """
    numbers = training_clip(video.num_frames, model.num_frames, preprocessing.sampling, video.fps, generator)
    clip_CTHW = video.read(numbers, draw_short_side(augmentation, generator))
    size = model.image_size
    top = generator.randint(0, clip_CTHW.shape[2] - size)
    left = generator.randint(0, clip_CTHW.shape[3] - size)
    clip_CTHW = clip_CTHW[:, :, top : top + size, left : left + size]
    if augmentation.flip and generator.random() < 0.5:
        clip_CTHW = clip_CTHW.flip(3)
    return clip_CTHW.contiguous()


def draw_short_side(augmentation: Augmentation, generator: random.Random) -> int:
    """A short side in pixels; `inverse_uniform` draws its reciprocal uniformly (SlowFast's and SSv2's jitter)."""
    low, high = augmentation.short_side
    if augmentation.short_side_law == "uniform":
        return generator.randint(low, high)
    return round(1 / generator.uniform(1 / high, 1 / low))


def normalise(clips: Tensor, preprocessing: Preprocessing, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 RGB clips (..., 3, T, H, W) as the model expects them: scaled to 0..1, normalised, channels in order."""
    mean = torch.tensor(preprocessing.mean, dtype=dtype, device=clips.device).view(3, 1, 1, 1)
    std = torch.tensor(preprocessing.std, dtype=dtype, device=clips.device).view(3, 1, 1, 1)
    normalised = (clips.to(dtype) / 255 - mean) / std
    return normalised.flip(-4) if preprocessing.channels == "bgr" else normalised
