"""Test views: temporal clips times spatial crops (paper, section 4: one clip, three crops).

Dimensions: V views, C 3 colours, T frames, S side of a crop in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from timesformer.config import Architecture, Preprocessing
from timesformer.errors import SettingError
from timesformer.video.sampling import testing_clips
from timesformer.video.source import Video


def testing_views(video: Video, model: Architecture, preprocessing: Preprocessing) -> Tensor:
    """All views a video is tested with: uint8 RGB (V, 3, T, S, S), clip by clip, each clip's crops side by side.

    The short side is scaled to `preprocessing.short_side`, or the image size. The frames of all clips are decoded
    in one pass.
    """
    clips = testing_clips(
        video.num_frames, model.num_frames, preprocessing.sampling, video.fps, preprocessing.test_clips
    )
    numbers = [number for clip in clips for number in clip]
    frames_CNHW = video.read(numbers, preprocessing.short_side or model.image_size)
    views = [
        crop
        for clip_CTHW in frames_CNHW.split(model.num_frames, dim=1)
        for crop in spatial_crops(clip_CTHW, model.image_size, preprocessing.test_crops)
    ]
    return torch.stack(views)


def spatial_crops(clip_CTHW: Tensor, size: int, crops: int) -> list[Tensor]:
    """1 centre crop, or 3 crops (start, centre, end) along the longer side, each (3, T, size, size).

    Centres that fall between two pixels are rounded up, as in the released code. Raises SettingError for frames that
    are smaller than a crop.
    """
    if crops not in (1, 3):
        raise SettingError(f"crops is {crops}: 1 or 3")
    height, width = clip_CTHW.shape[2:]
    if min(height, width) < size:
        raise SettingError(f"frames of {height} x {width} pixels are smaller than crops of {size}")
    top, left = -((size - height) // 2), -((size - width) // 2)
    corners = [(top, left)]
    if crops == 3 and width >= height:
        corners = [(top, 0), (top, left), (top, width - size)]
    elif crops == 3:
        corners = [(0, left), (top, left), (height - size, left)]
    return [clip_CTHW[:, :, y : y + size, x : x + size] for y, x in corners]
