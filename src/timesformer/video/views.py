"""Test views: temporal clips times spatial crops (paper, section 4: one clip, three crops).

Dimensions: V views, C 3 colours, T frames, S side of a crop in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from timesformer.config import ClipShape, Preprocessing
from timesformer.errors import SettingError
from timesformer.video.sampling import testing_clips
from timesformer.video.source import Source, open_video
from timesformer.video.video import Video


def read_views(
    source: Source | Video, shape: ClipShape, preprocessing: Preprocessing, *, fps: float | None = None
) -> Tensor:
    """All views a video is tested with: uint8 RGB (V, 3, T, S, S), clip by clip, each clip's crops side by side.

    source: anything that `open_video` takes, with `fps` where it is frames in memory; or a video that is open, which
    stays open. The short side is scaled to `preprocessing.short_side`, or to `shape.side`. The frames of all clips are
    decoded in one pass. Raises VideoError for a video that cannot be read, SettingError as `open_video` does and for
    frames that are smaller than a crop.
    """
    if not isinstance(source, Video):
        with open_video(source, fps) as video:
            return read_views(video, shape, preprocessing)
    if fps is not None:
        raise SettingError(f"fps is {fps}; the video is open and has its own")
    clips = testing_clips(source.num_frames, shape.frames, preprocessing.sampling, source.fps, preprocessing.test_clips)
    numbers = [number for clip in clips for number in clip]
    frames_CNHW = source.read(numbers, preprocessing.short_side or shape.side)
    views = [
        crop
        for clip_CTHW in frames_CNHW.split(shape.frames, dim=1)
        for crop in spatial_crops(clip_CTHW, shape.side, preprocessing.test_crops)
    ]
    return torch.stack(views)


def spatial_crops(clip_CTHW: Tensor, size: int, crops: int) -> list[Tensor]:
    """1 centre crop, or 3 crops (start, centre, end) along the longer side, each (3, T, size, size).

    Centres that fall between two pixels are rounded up, as in the released code. Raises SettingError for frames that
    are smaller than a crop.
    """
    if crops not in (1, 3):
        raise SettingError(f"crops is {crops}; expected 1 or 3")
    height, width = clip_CTHW.shape[2:]
    if min(height, width) < size:
        raise SettingError(f"frames of {height} x {width} pixels are smaller than crops of {size} x {size}")
    top, left = -((size - height) // 2), -((size - width) // 2)
    corners = [(top, left)]
    if crops == 3 and width >= height:
        corners = [(top, 0), (top, left), (top, width - size)]
    elif crops == 3:
        corners = [(0, left), (top, left), (height - size, left)]
    return [clip_CTHW[:, :, y : y + size, x : x + size] for y, x in corners]
