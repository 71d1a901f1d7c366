"""Training clips: frames drawn at random, scaled, cropped, mirrored, changed; and pixel normalisation, for all clips.

Dimensions: C 3 colours, T frames, H and W pixels.
"""

from __future__ import annotations

import random
from functools import lru_cache

import torch
from torch import Tensor

from timesformer.config import Augmentation, ClipShape, Preprocessing
from timesformer.video.random_ops import randomly_changed
from timesformer.video.sampling import training_clip
from timesformer.video.video import Video


def training_views(
    video: Video,
    shape: ClipShape,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    generator: random.Random,
    mirrored: bool | None = None,
) -> Tensor:
    """Augmented clips of a video, for a model: uint8 RGB (augmentation.repeats, 3, T, S, S) with S = shape.side.

    The clips of one video are decoded in one pass and share the short side; all else is drawn for each. All that is
    random comes from `generator`, so the same state gives the same clips, bit for bit. mirrored: whether all of them
    are; None draws it for each, where `augmentation.flip` is true.
    """
    draws = [
        training_clip(
            video.num_frames, shape.frames, preprocessing.sampling, video.fps, generator, augmentation.time_scale
        )
        for _ in range(augmentation.repeats)
    ]
    frames_CNHW = video.read(
        [number for numbers in draws for number in numbers], draw_short_side(augmentation, generator)
    )
    clips = frames_CNHW.split(shape.frames, dim=1)
    return torch.stack([_augmented(clip_CTHW, shape.side, augmentation, generator, mirrored) for clip_CTHW in clips])


def _augmented(
    clip_CTHW: Tensor, size: int, augmentation: Augmentation, generator: random.Random, mirrored: bool | None
) -> Tensor:
    top = generator.randint(0, clip_CTHW.shape[2] - size)
    left = generator.randint(0, clip_CTHW.shape[3] - size)
    clip_CTHW = clip_CTHW[:, :, top : top + size, left : left + size]
    if mirrored is None:
        mirrored = augmentation.flip is True and generator.random() < 0.5
    if mirrored:
        clip_CTHW = clip_CTHW.flip(3)
    if augmentation.affine or augmentation.random_ops or augmentation.erasing:
        clip_CTHW = randomly_changed(clip_CTHW, augmentation, generator.getrandbits(63))
    return clip_CTHW


def draw_short_side(augmentation: Augmentation, generator: random.Random) -> int:
    """A short side in pixels; `inverse_uniform` draws its reciprocal uniformly (SlowFast's and SSv2's jitter)."""
    low, high = augmentation.short_side
    if augmentation.short_side_distribution == "uniform":
        return generator.randint(low, high)
    return round(1 / generator.uniform(1 / high, 1 / low))


def normalise(clips: Tensor, preprocessing: Preprocessing, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 RGB clips (..., 3, T, H, W) as the model expects them: scaled to 0..1, normalised, channels in order."""
    mean, std = (_on_device(values, dtype, clips.device) for values in (preprocessing.mean, preprocessing.std))
    normalised = (clips.to(dtype) / 255 - mean) / std
    return normalised.flip(-4) if preprocessing.channels == "bgr" else normalised


@lru_cache(maxsize=32)
def _on_device(values: tuple[float, float, float], dtype: torch.dtype, device: torch.device) -> Tensor:
    """One value a colour; kept, since making it on a GPU waits for all that the GPU has to do."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device).view(3, 1, 1, 1)
