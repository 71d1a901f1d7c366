"""Test views: temporal clips times spatial crops (paper, section 4: one clip, three crops).

They are those of a whole video, or of each window of a timeline.

Dimensions: V views, C 3 colours, T frames, S side of a crop in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from timesformer.config import ClipShape, Preprocessing
from timesformer.errors import SettingError, VideoError
from timesformer.video.part import UNKNOWN_RATE, check_part, frames_between, length_of, number_at
from timesformer.video.sampling import testing_clips
from timesformer.video.source import Source, open_video
from timesformer.video.video import Frame, Video, mean_rate
from timesformer.video.windows import ROUNDING, Window, cut_windows, seconds_of, timeline_grid, window_start


def read_views(
    source: Source | Video, shape: ClipShape, preprocessing: Preprocessing, *, fps: float | None = None
) -> Tensor:
    """All views a video is tested with: uint8 RGB (V, 3, T, S, S), clip by clip, each clip's crops side by side.

    source: anything that `open_video` takes, with `fps` where it is frames in memory; or a video that is open, which
    stays open. The short side is scaled to `preprocessing.short_side`, or to `shape.side`. The frames of all clips are
    decoded in one pass. Raises VideoError for a video that cannot be read, and where windows of `cover` are in seconds
    but its frame rate is unknown; SettingError as `open_video` does and for frames that are smaller than a crop.
    """
    if not isinstance(source, Video):
        with open_video(source, fps) as video:
            return read_views(video, shape, preprocessing)
    if fps is not None:
        raise SettingError(f"fps is {fps}; the video is open and has its own")
    sampling = preprocessing.sampling
    if sampling.method == "cover" and sampling.fps is not None and source.fps is None and source.num_frames > 1:
        raise VideoError(source.name, UNKNOWN_RATE)
    numbers = _numbers(source.num_frames, source.fps, shape, preprocessing)
    return _views(source.read(numbers, preprocessing.short_side or shape.side), shape, preprocessing)


def window_views(
    source: Source | Video,
    shape: ClipShape,
    preprocessing: Preprocessing,
    *,
    window: float | None = None,
    stride: float | None = None,
    start: float | None = None,
    end: float | None = None,
    skip: int = 0,
) -> Iterator[tuple[Window, Tensor]]:
    """The windows of a timeline (`timesformer.video.windows`), each with its views as soon as they are known: uint8 RGB
    (V, 3, T, S, S), what `read_views` gives of that part of the video.

    Each frame is decoded once, and no more frames are kept than a window has. source: as for `read_views`.
    window, stride: length of a window, and from one to the next, in seconds; defaults as `timeline_grid` has them.
    start, end: the part of the video that has windows, in seconds after its first frame; the windows begin at `start`.
    skip: windows of the grid that are skipped at the start; frames before the first of the others are not decoded.

    Raises VideoError for a video that cannot be read or whose times are unknown, and for a part that it does not have;
    SettingError as `timeline_grid`, `check_part` and `read_views` do.
    """
    check_part(start, end)
    if not isinstance(source, Video):
        with open_video(source) as video:
            yield from window_views(
                video, shape, preprocessing, window=window, stride=stride, start=start, end=end, skip=skip
            )
        return
    begin, duration = start or 0.0, length_of(source)
    length, stride = timeline_grid(window, stride, shape, preprocessing, source.fps)
    first, stop = frames_between(source, start, end)
    end = duration if end is None else end
    if skip:
        if window_start(begin, stride, skip - 1) + length > end - ROUNDING:
            return
        first = number_at(source, max(begin, min(window_start(begin, stride, skip), end - length)))
    frames = source.frames(preprocessing.short_side or shape.side, first, stop)
    cut = cut_windows(frames, length, stride, begin=begin, end=end, skip=skip, number=first)
    for found, inside in cut:
        yield found, frame_views(inside, shape, preprocessing)


def frame_views(frames: Sequence[Frame], shape: ClipShape, preprocessing: Preprocessing) -> Tensor:
    """What `read_views` gives of a video of these frames, whose images have been scaled: uint8 RGB (V, 3, T, S, S)."""
    rate = mean_rate(len(frames), seconds_of(frames[0]), seconds_of(frames[-1]))
    numbers = _numbers(len(frames), rate, shape, preprocessing)
    return _views(torch.stack([frames[number].image for number in numbers], dim=1), shape, preprocessing)


def _numbers(video_frames: int, fps: float | None, shape: ClipShape, preprocessing: Preprocessing) -> list[int]:
    """The frames of all clips, one after the other."""
    clips = testing_clips(video_frames, shape.frames, preprocessing.sampling, fps, preprocessing.test_clips)
    return [number for clip in clips for number in clip]


def _views(frames_CNHW: Tensor, shape: ClipShape, preprocessing: Preprocessing) -> Tensor:
    """The crops of clips that lie one after the other."""
    clips = frames_CNHW.split(shape.frames, dim=1)
    return torch.stack([crop for clip in clips for crop in spatial_crops(clip, shape.side, preprocessing.test_crops)])


def spatial_crops(clip_CTHW: Tensor, size: int, crops: int) -> list[Tensor]:
    """1 centre crop, or 3 crops (start, centre, end) along the longer side, each (3, T, size, size).

    Raises SettingError as `crop_corners`.
    """
    corners = crop_corners(clip_CTHW.shape[2], clip_CTHW.shape[3], size, crops)
    return [clip_CTHW[:, :, y : y + size, x : x + size] for y, x in corners]


def crop_corners(height: int, width: int, size: int, crops: int) -> list[tuple[int, int]]:
    """Top and left of 1 centre crop, or of 3 crops (start, centre, end) along the longer side, of frames of a size.

    Centres that fall between two pixels are rounded up, as in the released code. Raises SettingError for frames that
    are smaller than a crop.
    """
    if crops not in (1, 3):
        raise SettingError(f"crops is {crops}; expected 1 or 3")
    if min(height, width) < size:
        raise SettingError(f"frames of {height} x {width} pixels are smaller than crops of {size} x {size}")
    top, left = -((size - height) // 2), -((size - width) // 2)
    if crops == 3 and width >= height:
        return [(top, 0), (top, left), (top, width - size)]
    if crops == 3:
        return [(0, left), (top, left), (height - size, left)]
    return [(top, left)]
