"""The windows of a video that it is tested with: which stretch of it each clip is spread over, in frames and seconds.

A video of 24 frames at 8 frames a second, clips of 4 frames, `cover` at rate 2:

    frames   0 . . . . . . . 8 . . . . . . . 16. . . . . . . 24
    windows  |-- 0 to 8 ----|--- 8 to 16 ---|-- 16 to 24 --|
    seconds  0              1               2              3

Which frames of its window make a clip is in `sampling.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from timesformer.config import Sampling
from timesformer.errors import SettingError

ROUNDING = 1e-6  # frames: positions that differ by less are equal


class Window(NamedTuple):
    """A stretch of a video that one clip is spread over.

    begin, length: where it begins and how long it is, in frames; neither need be whole, and a window may reach past
        the end of a short video.
    first, stop: the frames of the video in it, first <= number < stop.
    start, end: when frame `first` appears and frame `stop - 1` disappears, in seconds after the first frame of the
        video; None where times are unknown.
    """

    begin: float
    length: float
    first: int
    stop: int
    start: float | None
    end: float | None


def testing_windows(
    video_frames: int,
    num_frames: int,
    sampling: Sampling,
    fps: float | None,
    clips: int = 1,
    seconds: Callable[[int], float | None] = lambda number: None,
) -> list[Window]:
    """The windows of the clips of `num_frames` frames that a video of `video_frames` frames is tested with.

    They are `clips` windows, evenly from the start of the video to its end (a single one where `sampling` says), or as
    many as cover the video. Clips of `segments` are spread over the whole video each.

    fps: frame rate of the video, None where unknown. seconds: when a frame appears, such as `Video.seconds`.
    Raises SettingError for a number of clips below 1, or above 1 with `cover`, which finds its own.
    """
    if clips < 1:
        raise SettingError(f"clips is {clips}; expected at least 1")
    length = span_length(num_frames, sampling, fps)
    room = max(video_frames - length, 0)
    if sampling.method == "segments":
        length, begins = float(video_frames), [0.0] * clips
    elif sampling.method == "cover":
        if clips != 1:
            raise SettingError(f"clips is {clips}; sampling cover takes as many as the video holds, so leave it at 1")
        begins = [clip * length for clip in range(max(1, math.ceil(video_frames / length)))]
    elif clips == 1:
        begins = [0.0 if sampling.single_clip == "start" else room / 2]
    else:
        begins = [room * clip / (clips - 1) for clip in range(clips)]
    return [_window(begin, length, video_frames, seconds) for begin in begins]


def span_length(num_frames: int, sampling: Sampling, fps: float | None) -> float:
    """Frames of the video that a clip of `span` or `cover` is spread over; they need not be whole."""
    length = num_frames * sampling.rate
    return length if sampling.fps is None or fps is None else length * fps / sampling.fps


def _window(begin: float, length: float, video_frames: int, seconds: Callable[[int], float | None]) -> Window:
    first = min(int(begin + ROUNDING), video_frames - 1)
    stop = min(max(int(begin + length + ROUNDING), first + 1), video_frames)
    return Window(begin, length, first, stop, seconds(first), seconds(stop))
